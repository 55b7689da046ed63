package crawl

import "github.com/sluice-cdc/sluice/change"

// Request asks for a crawl. Table alone means the whole table.
type Request struct {
	ID    string           // unique among the source's crawls; made up where it is empty
	Table change.TableName //
	Where string           // an SQL condition on the table's columns; empty: all rows
	Keys  string           // JSON list of keys: [1, 2], [[1,"a"], [2,"b"]] or [{"id": 1}]; empty: no named keys
	Sweep bool             // afterwards look up the keys that are only in the topic, and delete those that are gone
	Since change.Version   // with Sweep: keys whose newest put is older are looked up; 0: as the crawl begins
}
