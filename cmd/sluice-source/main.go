// Command sluice-source turns the binlog and the existing rows of one MySQL or MariaDB server into change events in Kafka.
package main

import (
	"os"

	"github.com/sluice-cdc/sluice/source"
)

func main() { os.Exit(source.Main(os.Args[1:], os.Stdout, os.Stderr)) }
