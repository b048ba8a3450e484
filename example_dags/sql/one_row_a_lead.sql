-- A sync takes one record of each person: of two rows with the same email, the one that is younger.
-- A row without a usable address would hold up removals, since nobody knows whose it is.
SELECT email, first_name, last_name, job_title, company, city, plan, is_contacted, replied, bounced, unsubscribed
FROM (
    SELECT *, row_number() OVER (PARTITION BY lower(email) ORDER BY updated_at DESC, id DESC) AS nth FROM leads
)
WHERE nth = 1 AND email LIKE '%_@_%';
