package redis

// For tests in the package's outside.
var (
	AppendRow  = appendRow
	ReadRow    = readRow
	AppendText = appendText
	ReadText   = readText
	Score      = score
	CRC16      = crc16
	Glob       = globMatches
)

// RowKey returns what stands behind a table's name in a row's key, and Parts takes it apart.
var (
	RowKey = (*plan).rowKey
	Plan   = (*Config).plan
	Base   = (*Config).base
)

// Parts takes what stands behind a table's name in a row's key apart.
func (p *plan) Parts(key string) ([]string, bool) { return p.key.cut(key) }
