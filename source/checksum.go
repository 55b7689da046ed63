package source

import "hash/crc64"

// checksum covers the raw rows of a transaction, in order. A transaction that was published in part and comes again, from
// another server maybe, is the same one if the rows that were published have the same checksum. The zero checksum is that of
// no rows.
type checksum uint64

var checksumTable = crc64.MakeTable(crc64.ECMA)

func (c *checksum) add(row []byte) { *c = checksum(crc64.Update(uint64(*c), checksumTable, row)) }
