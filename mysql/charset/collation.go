package charset

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/sluice-cdc/sluice/mysql/gtid"
)

// The collations by number, one "id collation charset" a line, written by mysql/charset/gen. The two families
// of servers number them apart: 255 and 309 are utf8mb4_0900_ai_ci and utf8mb4_0900_bin only in MySQL, the
// numbers above 1024 have meaning only in MariaDB.
var (
	//go:embed collations_mysql.txt
	collationsMySQL string
	//go:embed collations_mariadb.txt
	collationsMariaDB string
)

type collation struct{ name, charset string }

var (
	mysqlCollations   = sync.OnceValue(func() map[uint32]collation { return parseCollations(collationsMySQL) })
	mariaDBCollations = sync.OnceValue(func() map[uint32]collation { return parseCollations(collationsMariaDB) })
)

// CollationByID returns the collation that a TABLE_MAP event of that family of servers names by number, and
// its character set.
func CollationByID(flavor gtid.Flavor, id uint32) (name, charset string, ok bool) {
	collations := mysqlCollations
	if flavor == gtid.MariaDB {
		collations = mariaDBCollations
	}
	found, ok := collations()[id]
	return found.name, found.charset, ok
}

// parseCollations reads a generated list; what is wrong with it, a test finds.
func parseCollations(text string) map[uint32]collation {
	collations := map[uint32]collation{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			panic(fmt.Sprintf("charset: collation line %q", line))
		}
		id, err := strconv.ParseUint(fields[0], 10, 32)
		if err != nil {
			panic(fmt.Sprintf("charset: collation line %q: %v", line, err))
		}
		collations[uint32(id)] = collation{name: fields[1], charset: fields[2]}
	}
	return collations
}
