{#- From `since` on, and before `until`: where the next run's window begins this one has ended, so windows
that touch neither overlap nor leave a gap. For a real timestamp column this is enough:

    WHERE updated_at >= '{{ data_interval_start }}' AND updated_at < '{{ data_interval_end }}'

Here the column is a text, and a run may have no interval; window() in the DAG's file sees to both. -#}
{% set since, until = window(params, dag_run) -%}
SELECT email, first_name, last_name, job_title, company, city, plan
FROM leads
WHERE updated_at >= '{{ since }}'
  AND updated_at < '{{ until }}'
ORDER BY updated_at, id
