-- How long chunks took, and who shares the cost of a request.

ALTER TABLE backfill_chunks ADD COLUMN begun_at TIMESTAMP WITH TIME ZONE;
COMMENT ON COLUMN backfill_chunks.begun_at IS 'When GitHub was first asked for one of its pull requests; known when it is done with.';
ALTER TABLE backfill_chunks ADD COLUMN landed_at TIMESTAMP WITH TIME ZONE;
COMMENT ON COLUMN backfill_chunks.landed_at IS 'When the last of them landed; known when it is done with.';
ALTER TABLE backfills ADD COLUMN millis_each BIGINT;
COMMENT ON COLUMN backfills.millis_each IS 'Milliseconds that a pull request of past chunks took, the newest counting most; decides how large the next chunks are.';

ALTER TABLE api_cost ADD COLUMN shared_by VARCHAR[];
COMMENT ON COLUMN api_cost.shared_by IS 'The repositories that a request for several asked about, each of which has an equal part of its cost (view api_cost_by_repository); empty of one.';
COMMENT ON COLUMN api_cost.repository IS 'What it asked about: owner/name; the first, if there were several.';
