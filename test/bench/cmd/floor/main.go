// Command floor runs one of the bare programs of package test/bench/floor and prints what it came to in one line.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/sluice-cdc/sluice/test/bench/floor"
)

const usage = `floor does one thing and nothing else, as fast as servers and machine allow, and prints
  floor NAME: rows N bytes N seconds S rows/s N MB/s N cpu_seconds S

  floor produce -brokers HOST:PORT -topic T -rows N (-bytes N | -like TOPIC) [-compression snappy]
  floor load    -from DSN -table DB.T -to DSN [-into DB.T] [-rows N] [-statement 500] [-connections 1]
  floor bulk    -from DSN -table DB.T -url URL -index I [-like INDEX] [-rows N] [-request 8388608] [-connections 1]
  floor dump    -rows N [-bytes N] [-o FILE] -- mysqldump ARGS...
  floor binlog  -rows N -dir EMPTY -- mysqlbinlog --raw ARGS...

A DSN is user:password@tcp(host:port)/
`

// commands parse their own flags.
var commands = map[string]func(ctx context.Context, f *flag.FlagSet, args []string) (floor.Result, error){
	"produce": produce, "load": load, "bulk": bulk, "dump": dump, "binlog": binlog,
}

// errUsage is bad usage, of which the flag package has said what it is.
var errUsage = errors.New("usage")

// Exit codes: 0 done, 1 failed, 2 usage.
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	name := os.Args[1]
	result, err := commands[name](ctx, flag.NewFlagSet("floor "+name, flag.ContinueOnError), os.Args[2:])
	switch {
	case errors.Is(err, flag.ErrHelp), errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "floor %s: %v\n", name, err)
		os.Exit(1)
	}
	fmt.Println(result)
}

// parse reads the flags; all that is not behind them is wrong but for the tools' commands.
func parse(f *flag.FlagSet, args []string, tool bool) error {
	if err := f.Parse(args); err != nil {
		return errors.Join(errUsage, err)
	}
	if !tool && f.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "%s: %q is no flag\n", f.Name(), f.Arg(0))
		return errUsage
	}
	return nil
}

func produce(ctx context.Context, f *flag.FlagSet, args []string) (floor.Result, error) {
	var o floor.ProduceOptions
	brokers := f.String("brokers", "", "Kafka's brokers, separated by commas")
	f.StringVar(&o.Topic, "topic", "", "an existing topic")
	f.StringVar(&o.Like, "like", "", "a topic whose records are sent in turn")
	f.IntVar(&o.RowBytes, "bytes", 0, "bytes of a made-up record's value")
	f.IntVar(&o.Rows, "rows", 0, "records to send")
	f.StringVar(&o.Compression, "compression", "snappy", "none, snappy, lz4 or zstd")
	if err := parse(f, args, false); err != nil {
		return floor.Result{}, err
	}
	o.Brokers = strings.Split(*brokers, ",")
	return floor.Produce(ctx, o)
}

// from are the flags of a table that is read.
func from(f *flag.FlagSet) (dsn, table *string) {
	return f.String("from", "", "the server that is read"), f.String("table", "", "the table that is read")
}

func load(ctx context.Context, f *flag.FlagSet, args []string) (floor.Result, error) {
	var o floor.LoadOptions
	dsn, table := from(f)
	to, into := f.String("to", "", "the server that is written"), f.String("into", "", "the table that is written; that of -table when empty")
	f.IntVar(&o.Rows, "rows", 0, "rows at most; 0 is all")
	f.IntVar(&o.RowsPerStatement, "statement", 0, "rows of a statement; 0 is 500")
	f.IntVar(&o.Connections, "connections", 1, "connections that write")
	if err := parse(f, args, false); err != nil {
		return floor.Result{}, err
	}
	if *into == "" {
		into = table
	}
	var err, toErr error
	o.From, err = floor.ParseTable(*dsn, *table)
	o.To, toErr = floor.ParseTable(*to, *into)
	if err = errors.Join(err, toErr); err != nil {
		return floor.Result{}, err
	}
	return floor.Load(ctx, o)
}

func bulk(ctx context.Context, f *flag.FlagSet, args []string) (floor.Result, error) {
	var o floor.BulkOptions
	dsn, table := from(f)
	f.StringVar(&o.URL, "url", "", "the search engine")
	f.StringVar(&o.Index, "index", "", "the index that is written")
	f.StringVar(&o.Like, "like", "", "an index whose mappings the index is made with")
	f.IntVar(&o.Rows, "rows", 0, "rows at most; 0 is all")
	f.IntVar(&o.RequestBytes, "request", 0, "bytes of a request; 0 is 8 MB")
	f.IntVar(&o.Connections, "connections", 1, "requests side by side")
	if err := parse(f, args, false); err != nil {
		return floor.Result{}, err
	}
	var err error
	if o.From, err = floor.ParseTable(*dsn, *table); err != nil {
		return floor.Result{}, err
	}
	return floor.Bulk(ctx, o)
}

func dump(ctx context.Context, f *flag.FlagSet, args []string) (floor.Result, error) {
	var o floor.ToolOptions
	f.Int64Var(&o.Rows, "rows", 0, "rows of the table")
	f.Int64Var(&o.Bytes, "bytes", 0, "bytes of the rows")
	f.StringVar(&o.Output, "o", "", "a file in place of /dev/null")
	if err := parse(f, args, true); err != nil {
		return floor.Result{}, err
	}
	o.Command = f.Args()
	return floor.Dump(ctx, o)
}

func binlog(ctx context.Context, f *flag.FlagSet, args []string) (floor.Result, error) {
	var o floor.ToolOptions
	f.Int64Var(&o.Rows, "rows", 0, "rows in the binlog")
	f.StringVar(&o.Dir, "dir", "", "the folder that the command writes into")
	if err := parse(f, args, true); err != nil {
		return floor.Result{}, err
	}
	o.Command = f.Args()
	return floor.Binlog(ctx, o)
}
