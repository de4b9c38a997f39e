-- Checks that were run again on the same commit, and how the runs ended: flaky ones end differently.
SELECT repository, name, count(*) AS runs, count(DISTINCT conclusion) > 1 AS is_flaky,
       list(conclusion ORDER BY completed_at, id) AS conclusions
FROM ci_history
GROUP BY repository, number, head_ref_oid, name
HAVING count(*) > 1
ORDER BY is_flaky DESC, runs DESC, name;
