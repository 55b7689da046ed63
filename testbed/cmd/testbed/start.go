package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-cdc/sluice/testbed"
)

// stopper is what every server of the test bed is to this command.
type stopper interface {
	Stop() error
	ErrorLog() string
}

// start runs one server until the context ends.
func start(ctx context.Context, name string) error {
	server, address, err := startNamed(ctx, name)
	if err != nil {
		return err
	}
	fmt.Println(address)
	progress("log: %s\n^C stops it and removes its data", server.ErrorLog())
	<-ctx.Done()
	return server.Stop()
}

// startNamed starts the server and says how to reach it.
func startNamed(ctx context.Context, name string) (server stopper, address string, err error) {
	switch name {
	case "kafka":
		kafka, err := testbed.StartKafka(ctx, testbed.KafkaOptions{Log: progress})
		if err != nil {
			return nil, "", err
		}
		return kafka, kafka.Address(), nil
	case "registry":
		registry, err := testbed.StartRegistry(ctx, testbed.RegistryOptions{Log: progress})
		if err != nil {
			return nil, "", err
		}
		return registry, registry.URL(), nil
	case "elasticsearch", "opensearch":
		search, err := testbed.StartSearch(ctx, testbed.SearchOptions{Kind: testbed.SearchKind(name), Log: progress})
		if err != nil {
			return nil, "", err
		}
		return search, search.URL(), nil
	case "redis", "valkey":
		redis, err := testbed.StartRedis(ctx, testbed.RedisOptions{Kind: testbed.RedisKind(name), Log: progress})
		if err != nil {
			return nil, "", err
		}
		return redis, redis.Address(), nil
	case "postgres":
		postgres, err := testbed.StartPostgres(ctx, testbed.PostgresOptions{Log: progress})
		if err != nil {
			return nil, "", err
		}
		progress("users: postgres, app, without a password; database: app; socket: %s", postgres.Socket)
		return postgres, postgres.URL(), nil
	case "mongo-java-server":
		mongo, err := testbed.StartMongo(ctx, testbed.MongoOptions{Log: progress})
		if err != nil {
			return nil, "", err
		}
		return mongo, mongo.URI(), nil
	case "hbase":
		hbase, err := testbed.StartHBase(ctx, testbed.HBaseOptions{Log: progress})
		if err != nil {
			return nil, "", err
		}
		return hbase, hbase.URL(), nil
	case "clickhouse":
		clickhouse, err := testbed.StartClickHouse(ctx, testbed.ClickHouseOptions{Log: progress})
		if err != nil {
			return nil, "", err
		}
		return clickhouse, clickhouse.URL(), nil
	case "chdb":
		chdb, err := testbed.StartChDB(ctx, testbed.ChDBOptions{Log: progress})
		if err != nil {
			return nil, "", err
		}
		return chdb, chdb.URL(), nil
	case "s3proxy":
		s3, err := testbed.StartS3(ctx, testbed.S3Options{Buckets: []string{"history"}, Log: progress})
		if err != nil {
			return nil, "", err
		}
		progress("access key: %s; secret key: %s; bucket: history", testbed.S3AccessKey, testbed.S3SecretKey)
		return s3, s3.URL(), nil
	case "duckdb":
		return nil, "", errors.New("duckdb is a package of Python's and no server; go test ./sink/files runs it")
	case "libfaketime":
		return nil, "", errors.New("libfaketime is a library and no server; a MySQL started with a movable clock loads it")
	case "connect":
		return nil, "", errors.New("connect is nothing without a broker and a registry; go test ./test/parity runs it")
	case "debezium-mysql", "maxwell":
		return nil, "", fmt.Errorf("%s is nothing without a MySQL and a broker; SLUICE_FULL=1 go test ./test/bench/peer runs it", name)
	case "tlc":
		return nil, "", errors.New("tlc is a program and no server; go test ./test/model runs it")
	}
	version, err := testbed.ParseMySQLVersion(name)
	if err != nil {
		return nil, "", err
	}
	mysql, err := testbed.StartMySQL(ctx, testbed.MySQLOptions{Version: version, Log: progress})
	if err != nil {
		return nil, "", err
	}
	progress("users: root (no password), app/app, cdc/cdc; socket: %s", mysql.Socket)
	return mysql, mysql.Address(), nil
}
