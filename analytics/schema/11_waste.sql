-- What failed requests have cost.

ALTER TABLE api_cost ADD COLUMN wasted BIGINT;
COMMENT ON COLUMN api_cost.wasted IS 'Of a request that GitHub worked on and that failed: points that its document costs by GitHub''s formula; GitHub does not tell.';
