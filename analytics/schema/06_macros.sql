-- Words that several files of SQL use.

CREATE MACRO utc(moment) AS strftime(moment::TIMESTAMP WITH TIME ZONE, '%Y-%m-%dT%H:%M:%SZ');
COMMENT ON MACRO utc IS 'A time as text, to the second, in RFC 3339; the session''s time zone must be UTC.';
