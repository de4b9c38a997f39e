-- How long pull requests took from opening to merging, by the month of the merge.
SELECT
    date_trunc('month', merged_at)::DATE AS month,
    count(*) AS merged,
    round(median(epoch_us(merged_at) - epoch_us(created_at)) / 3.6e9, 1) AS median_hours
FROM pull_requests
WHERE merged_at IS NOT NULL
GROUP BY month
ORDER BY month;
