// Package testbed fetches real servers into a cache folder and runs as many of
// each at once as a test asks for: MySQL, MariaDB, Apache Kafka, a schema
// registry, Kafka Connect with Debezium's JDBC sink, Elasticsearch and OpenSearch,
// PostgreSQL, Redis (alone or as a cluster), Valkey, HBase with its REST gateway,
// an old ClickHouse and the engine of a new one (chDB), S3Proxy, which speaks S3, and
// in place of a MongoDB, which cannot be had in this way, mongo-java-server. For the
// benchmark only, and fetched only when named, it has Debezium's MySQL source and Maxwell. DuckDB
// and chDB come as packages of Python: see [Python].
//
// It needs no container engine and no root, installs nothing on the host and
// leaves the host's services and package state alone. What it fetches comes
// from package registries by their ordinary clients (apt-get, mvn, pip), lies in
// [CacheDir] and is used again by the next run. Debian packages are unpacked
// into a folder and started through the loader and the C library they came
// with, so the host's own versions do not matter.
//
// Every server listens on loopback only, or on a [Host] of a [Net] that the test
// made, on a port from [FreePort], with a data folder of its own, and ends when
// the process that started it ends, also when that process is killed. A server is
// ready when its own socket or its own process says so, never because something
// answers on its port.
//
// A server is started by its Start function (StartMySQL, StartKafka, ...) and
// must be ended by its Stop. In between it can be killed, paused and started
// again on the same port and data. One goroutine per running server waits for
// its end; it is gone when Stop or Kill returns.
//
// Where this process is root on Linux, [NewNet] makes a network whose hosts'
// cables can be pulled, and [NewDisk] a disk that can be filled. Elsewhere they
// say what they need in an error that wraps [errors.ErrUnsupported]; nothing
// else of this package asks for root. [MySQL.SetClock] moves the wall clock of a
// server that was started with a movable one.
//
// The packages below it run in this process and fetch nothing:
// testbed/localbroker and testbed/localregistry stand in for Kafka and the
// schema registry, and testbed/proxy cuts, hangs, delays, slows down and
// swallows TCP bytes.
package testbed
