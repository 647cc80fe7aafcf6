-- name: limit_time
-- Ends every statement of this transaction after $1 milliseconds, given as text.
SELECT set_config('statement_timeout', $1, true);
