package mysql

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/sluice-cdc/sluice/mysql/gtid"
)

// OpenXA returns the prepared XA transactions of the server, by their ids as the binlog spells them
// (X'6775',X”,1). It needs XA_RECOVER_ADMIN on MySQL 8.0: without it the server answers with error 1401.
func OpenXA(ctx context.Context, q Queryer, f *Facts) ([]string, error) {
	statement := "XA RECOVER CONVERT XID"
	if f.Flavor == gtid.MariaDB {
		statement = "XA RECOVER" // its data comes as bytes
	}
	rows, err := q.QueryContext(ctx, statement)
	if err != nil {
		return nil, fmt.Errorf("read open XA transactions: %w", err)
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var format uint32
		var globalLength, branchLength int
		var data []byte
		if err := rows.Scan(&format, &globalLength, &branchLength, &data); err != nil {
			return nil, fmt.Errorf("read open XA transactions: %w", err)
		}
		if f.Flavor == gtid.MySQL {
			if data, err = hex.DecodeString(strings.TrimPrefix(string(data), "0x")); err != nil {
				return nil, fmt.Errorf("read open XA transactions: %w", err)
			}
		}
		if globalLength < 0 || branchLength < 0 || globalLength+branchLength > len(data) {
			return nil, fmt.Errorf("read open XA transactions: an id of %d and %d bytes in %d", globalLength, branchLength, len(data))
		}
		ids = append(ids, fmt.Sprintf("X'%x',X'%x',%d", data[:globalLength], data[globalLength:globalLength+branchLength], format))
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read open XA transactions: %w", err)
	}
	return ids, nil
}
