-- Who gave how many reviews, and who is waited for.
WITH given AS (
    SELECT author AS login, count(*) AS reviews FROM reviews WHERE author IS NOT NULL GROUP BY author
),
waited_for AS (
    SELECT reviewer AS login, count(*) AS requests
    FROM review_requests
    JOIN open_pull_requests USING (repository, number)
    GROUP BY reviewer
)
SELECT login, coalesce(reviews, 0) AS reviews, coalesce(requests, 0) AS waited_for
FROM given
FULL OUTER JOIN waited_for USING (login)
ORDER BY waited_for DESC, reviews DESC, login;
