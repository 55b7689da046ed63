package testbed

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Fetched is a server in the cache.
type Fetched struct {
	Name    string // as in Names
	Version string // exact
	Dir     string
	Bytes   int64 // of the folder
}

// installer brings a server into the cache.
type installer struct {
	name    string
	install func(context.Context, Log) (version, dir string, err error)
}

// peers are what only the benchmark starts: 90 MB that no test needs.
var peers = []installer{
	{"debezium-mysql", func(ctx context.Context, log Log) (string, string, error) {
		dir, err := debeziumInstall(ctx, log)
		return debeziumVersion, dir, needsJava(err)
	}},
	{"maxwell", func(ctx context.Context, log Log) (string, string, error) {
		dir, err := maxwellInstall(ctx, log)
		return maxwellVersion, dir, needsJava(err)
	}},
}

// installers are the others, in the order of Names.
var installers = []installer{
	{"mysql-9.7", mysqlInstaller(MySQL97)},
	{"mysql-8.0", mysqlInstaller(MySQL80)},
	{"mariadb-10.11", mysqlInstaller(MariaDB1011)},
	{"kafka", func(ctx context.Context, log Log) (string, string, error) {
		dir, err := kafkaInstall(ctx, log)
		return kafkaVersion, dir, needsJava(err)
	}},
	{"registry", func(ctx context.Context, log Log) (string, string, error) {
		dir, err := registryInstall(ctx, log)
		return apicurioVersion, dir, needsJava(err)
	}},
	{"connect", func(ctx context.Context, log Log) (string, string, error) {
		_, dir, err := connectInstall(ctx, log)
		return jdbcSinkVersion, dir, needsJava(err)
	}},
	{"elasticsearch", searchInstaller(Elasticsearch)},
	{"opensearch", searchInstaller(OpenSearch)},
	{"redis", redisInstaller(Redis)},
	{"valkey", redisInstaller(Valkey)},
	{"postgres", func(ctx context.Context, log Log) (string, string, error) {
		dir, version, err := postgresInstall(ctx, log)
		return version, dir, err
	}},
	{"mongo-java-server", func(ctx context.Context, log Log) (string, string, error) {
		dir, err := mongoInstall(ctx, log)
		return mongoVersion, dir, needsJava(err)
	}},
	{"hbase", func(ctx context.Context, log Log) (string, string, error) {
		dir, err := hbaseInstall(ctx, log)
		return hbaseVersion, dir, needsJava(err)
	}},
	{"clickhouse", func(ctx context.Context, log Log) (string, string, error) {
		dir, err := clickHouseInstall(ctx, log)
		return clickHouseMajor, dir, err
	}},
	{"s3proxy", func(ctx context.Context, log Log) (string, string, error) {
		dir, err := s3Install(ctx, log)
		return s3ProxyVersion, dir, needsJava(err)
	}},
	{"duckdb", pythonInstaller("duckdb")},
	{"chdb", pythonInstaller("chdb")},
	{"libfaketime", func(ctx context.Context, log Log) (string, string, error) {
		dir, err := faketimeInstall(ctx, log)
		return faketimeVersion, dir, err
	}},
	{"tlc", func(ctx context.Context, log Log) (string, string, error) {
		dir, err := tlcInstall(ctx, log)
		return tlcVersion, dir, needsJava(err)
	}},
}

func mysqlInstaller(version MySQLVersion) func(context.Context, Log) (string, string, error) {
	return func(ctx context.Context, log Log) (string, string, error) {
		home, err := mysqlInstall(ctx, version, log)
		if err != nil {
			return "", "", err
		}
		return home.FullVersion, home.dir, nil
	}
}

func searchInstaller(kind SearchKind) func(context.Context, Log) (string, string, error) {
	return func(ctx context.Context, log Log) (string, string, error) {
		dir, err := searchInstall(ctx, kind, log)
		return searchRecipes[kind].version, dir, needsJava(err)
	}
}

func redisInstaller(kind RedisKind) func(context.Context, Log) (string, string, error) {
	return func(ctx context.Context, log Log) (string, string, error) {
		dir, version, err := redisInstall(ctx, kind, log)
		return version, dir, err
	}
}

// needsJava asks for what a fetched server needs to run; the cache may come
// from a machine or a time with a JDK.
func needsJava(err error) error {
	if err != nil {
		return err
	}
	_, err = javaTool("java")
	return err
}

// Names are the servers that can be fetched, and some helpers of tests.
func Names() []string { return append(Default(), names(peers)...) }

// Default are those that tests start: all but what only the benchmark measures.
func Default() []string { return names(installers) }

func names(of []installer) []string {
	names := make([]string, len(of))
	for i, installer := range of {
		names[i] = installer.name
	}
	return names
}

// Fetch brings a server into the cache unless it is there.
func Fetch(ctx context.Context, name string, log Log) (Fetched, error) {
	for _, installer := range slices.Concat(installers, peers) {
		if installer.name != name {
			continue
		}
		version, dir, err := installer.install(ctx, log)
		if err != nil {
			return Fetched{}, fmt.Errorf("%s can not be had: %w", name, err)
		}
		size, err := folderSize(dir)
		if err != nil {
			return Fetched{}, fmt.Errorf("measure %s: %w", dir, err)
		}
		return Fetched{Name: name, Version: version, Dir: dir, Bytes: size}, nil
	}
	return Fetched{}, fmt.Errorf("unknown server %q; there are %s", name, strings.Join(Names(), ", "))
}

// Available fetches a server and says why it can not be had, for tests that are
// skipped then; that it was not met is noted for the run's report. The answer nil
// means that its Start function can be called.
func Available(ctx context.Context, name string) error {
	_, err := Fetch(ctx, name, nil)
	if err != nil {
		unmet(name, err)
	}
	return err
}
