package webhook

// For tests in the package's outside.
var (
	Sign         = sign
	DecodeSecret = decodeSecret
	RetryAfter   = retryAfter
	Judge        = judge
)
