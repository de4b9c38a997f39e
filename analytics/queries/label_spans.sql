-- How long each label stayed on a pull request, as observed.
WITH labelled AS (
    SELECT repository, number, unnest(label_names) AS label, valid_from, valid_to
    FROM pull_request_versions
)
SELECT
    label,
    count(DISTINCT (repository, number)) AS pull_requests,
    round(sum(epoch_us(coalesce(valid_to, TIMESTAMPTZ '2026-03-01 13:00:00+00')) - epoch_us(valid_from)) / 3.6e9, 2) AS hours
FROM labelled
GROUP BY label
ORDER BY hours DESC, label;
