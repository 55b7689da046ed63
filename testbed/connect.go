package testbed

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	jdbcSinkVersion = "3.5.0.Final"
	avroConverter   = "2.6.13.Final" // speaks the registry's API of version 2, which version 3 still has
	connectCache    = "connect-jdbc-" + jdbcSinkVersion + "-avro-" + avroConverter
	debeziumVersion = "3.6.1.Final"
	debeziumCache   = "connect-debezium-mysql-" + debeziumVersion
	// connectHeapDefault is in megabytes.
	connectHeapDefault = 256
	// connectAsk bounds a request that starts or changes a connector.
	connectAsk = 30 * time.Second
	// avroConverterClass turns Avro with a registry's ids into Connect's rows.
	avroConverterClass = "io.apicurio.registry.utils.converter.AvroConverter"
)

// connectPlugin is a folder of jars that Connect loads apart from its own.
type connectPlugin struct {
	name    string
	project mavenProject
	// without are patterns of jars that Connect must bring itself: two copies of a class that crosses the border are two classes.
	without []string
	// services are providers that a jar does not announce, by interface.
	services map[string]string
	// sums are the SHA-256 of jars by name.
	sums map[string]string
}

var connectPlugins = []connectPlugin{
	{
		name:    "debezium-jdbc",
		project: mavenProject{artifacts: []string{"io.debezium:debezium-connector-jdbc:" + jdbcSinkVersion}, transitive: true},
		without: []string{"jackson-annotations-*.jar", "jackson-core-*.jar", "jackson-databind-*.jar"},
	},
	{
		name:     "avro",
		project:  mavenProject{artifacts: []string{"io.apicurio:apicurio-registry-utils-converter:" + avroConverter}, transitive: true},
		without:  []string{"connect-*.jar"},
		services: map[string]string{"org.apache.kafka.connect.storage.Converter": avroConverterClass},
	},
}

// debeziumPlugin is Debezium's MySQL source. It is nothing of the tests': only the benchmark measures it.
var debeziumPlugin = connectPlugin{
	name:    "debezium-mysql",
	project: mavenProject{artifacts: []string{"io.debezium:debezium-connector-mysql:" + debeziumVersion}, transitive: true},
	without: []string{"jackson-annotations-*.jar", "jackson-core-*.jar", "jackson-databind-*.jar"},
	sums: map[string]string{
		"debezium-connector-mysql-" + debeziumVersion + ".jar":  "db56640086983fa838aaedffd7a2fc9887932fc028dbbfef11f62fc49248d5a2",
		"debezium-connector-binlog-" + debeziumVersion + ".jar": "1b23f155ce8c9c108513b8c50b16744831f52c29d367797343008782314b3dd5",
		"debezium-connector-common-" + debeziumVersion + ".jar": "365a695d512b085cff2cd12e28e44a7a3e733b43bfb27f3608508d7800e2de45",
		"mysql-binlog-connector-java-0.41.0.jar":                "a4bd7e9e24269fdfbbdfcd692f100878dc2539b5f331276c7700fdde44341364",
		"mysql-connector-j-9.1.0.jar":                           "8776e2ebc46072c9a47ea59d98298c4273bd9f16a7b26b5dfa4744535aa26c62",
	},
}

// ConnectOptions say how to start Kafka Connect.
type ConnectOptions struct {
	// Kafka is the broker's address.
	Kafka string
	// Registry has the schemas of keys and values, which are Avro. Nil: both are
	// JSON without a schema.
	Registry *Registry
	// DebeziumMySQL adds Debezium's MySQL source.
	DebeziumMySQL bool
	// Properties are the worker's and win over this package's.
	Properties map[string]string
	// Measured gives it both of Java's compilers: see KafkaOptions.
	Measured bool
	// HeapMB bounds the Java heap, in megabytes; default 256.
	HeapMB int
	// Dir is the folder in which the instance's folder is made; default the
	// system's temp folder.
	Dir string
	Log Log
}

// Connect is a running Kafka Connect worker on its own, with Debezium's JDBC
// sink and an Avro converter, and where it was asked for Debezium's MySQL source. After Kill and Start it knows no connectors any
// more, until they are Put again; a sink's offsets are in Kafka.
type Connect struct {
	*server

	// Version is Kafka's; JDBCSink is the connector's; DebeziumMySQL is the
	// source's, empty without it.
	Version, JDBCSink, DebeziumMySQL string
}

// StartConnect fetches Kafka and the plugins when they are not in the cache,
// starts a worker and waits until it answers. The caller must Stop it.
func StartConnect(ctx context.Context, o ConnectOptions) (*Connect, error) {
	kafka, plugins, err := connectInstall(ctx, o.Log)
	if err != nil {
		unmet("connect", err)
		return nil, err
	}
	debezium := ""
	if o.DebeziumMySQL {
		dir, err := debeziumInstall(ctx, o.Log)
		if err != nil {
			unmet("debezium-mysql", err)
			return nil, err
		}
		plugins, debezium = plugins+","+dir, debeziumVersion
	}
	base, err := newServer("connect", o.Dir, "connect.log")
	if err != nil {
		return nil, err
	}
	c := &Connect{server: base, Version: kafkaVersion, JDBCSink: jdbcSinkVersion, DebeziumMySQL: debezium}
	if err := c.prepare(kafka, plugins, o); err != nil {
		return nil, joinStop(fmt.Errorf("prepare Kafka Connect: %w", err), c)
	}
	if err := c.Start(ctx); err != nil {
		return nil, joinStop(err, c)
	}
	o.Log.printf("Kafka Connect %s with Debezium's JDBC sink %s ready on %s, pid %d", c.Version, c.JDBCSink, c.URL(), c.Pid())
	met("kafka-connect", kafkaVersion)
	met("debezium-jdbc-sink", jdbcSinkVersion)
	if debezium != "" {
		met("debezium-mysql", debezium)
	}
	return c, nil
}

// URL is the address of its HTTP interface.
func (c *Connect) URL() string { return "http://" + c.Address() }

func connectInstall(ctx context.Context, log Log) (kafka, plugins string, err error) {
	if kafka, err = kafkaInstall(ctx, log); err != nil {
		return "", "", err
	}
	plugins, err = cached(ctx, connectCache, log, func(ctx context.Context, dir string) error {
		log.printf("maven: Debezium's JDBC sink %s and Apicurio's Avro converter %s", jdbcSinkVersion, avroConverter)
		for _, plugin := range connectPlugins {
			if err := plugin.fetch(ctx, filepath.Join(dir, plugin.name)); err != nil {
				return fmt.Errorf("fetch %s: %w", plugin.name, err)
			}
		}
		return nil
	})
	return kafka, plugins, err
}

func debeziumInstall(ctx context.Context, log Log) (string, error) {
	return cached(ctx, debeziumCache, log, func(ctx context.Context, dir string) error {
		log.printf("maven: Debezium's MySQL source %s (24 jars, about 32 MB)", debeziumVersion)
		if err := debeziumPlugin.fetch(ctx, filepath.Join(dir, debeziumPlugin.name)); err != nil {
			return fmt.Errorf("fetch %s: %w", debeziumPlugin.name, err)
		}
		return nil
	})
}

func (p connectPlugin) fetch(ctx context.Context, dir string) error {
	if err := mavenCopy(ctx, dir, p.project); err != nil {
		return err
	}
	if err := checkSums(dir, p.sums); err != nil {
		return err
	}
	if err := removeJars(dir, p.without); err != nil {
		return err
	}
	if len(p.services) == 0 {
		return nil
	}
	file, err := os.Create(filepath.Join(dir, "services.jar"))
	if err != nil {
		return err
	}
	defer file.Close()
	jar := zip.NewWriter(file)
	for face, class := range p.services {
		entry, err := jar.Create("META-INF/services/" + face)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(entry, class+"\n"); err != nil {
			return err
		}
	}
	return errors.Join(jar.Close(), file.Sync())
}

func (c *Connect) prepare(kafka, plugins string, o ConnectOptions) error {
	heap := o.HeapMB
	if heap == 0 {
		heap = connectHeapDefault
	}
	properties := map[string]string{
		"bootstrap.servers":            o.Kafka,
		"plugin.path":                  plugins,
		"plugin.discovery":             "service_load",
		"offset.storage.file.filename": filepath.Join(c.dir, "offsets"),
		"offset.flush.interval.ms":     "1000",
		"listeners":                    c.URL(),
	}
	for _, side := range []string{"key", "value"} {
		if o.Registry == nil {
			properties[side+".converter"] = "org.apache.kafka.connect.json.JsonConverter"
			properties[side+".converter.schemas.enable"] = "false"
			continue
		}
		properties[side+".converter"] = avroConverterClass
		properties[side+".converter.apicurio.registry.url"] = "http://" + o.Registry.Address() + "/apis/registry/v2"
		properties[side+".converter.apicurio.registry.as-confluent"] = "true"
		properties[side+".converter.apicurio.registry.use-id"] = "contentId"
	}
	maps.Copy(properties, o.Properties)
	path := filepath.Join(c.dir, "worker.properties")
	if err := writeProperties(path, properties); err != nil {
		return err
	}
	flags := javaFlagsFor(heap, o.Measured)
	if _, err := kafkaJava(kafka, flags); err != nil {
		return err
	}
	c.command = func() *exec.Cmd {
		cmd, _ := kafkaJava(kafka, slices.Clip(flags), "org.apache.kafka.connect.cli.ConnectStandalone", path) // Java was found a moment ago
		return cmd
	}
	c.ready = c.answers
	return nil
}

// answers asks for the connectors. The answer does not say whose it is, so the
// port's owner is asked for as well.
func (c *Connect) answers(ctx context.Context) error {
	var connectors []string
	if err := getJSON(ctx, c.URL()+"/connectors", &connectors); err != nil {
		return err
	}
	if !listens(c.child.pid, c.Port) {
		return errors.New("another process answers on its port")
	}
	return nil
}

// Put makes a connector, or changes its configuration.
func (c *Connect) Put(ctx context.Context, name string, config map[string]string) error {
	if err := c.ask(ctx, http.MethodPut, "/connectors/"+name+"/config", config); err != nil {
		return fmt.Errorf("make the connector %s: %w", name, err)
	}
	return nil
}

// PutAt makes a source connector that goes on from an offset, as if it had been there before: what the partition and the offset are is
// the connector's business. It is made stopped (KIP-980), given the offset (KIP-875) and let go.
func (c *Connect) PutAt(ctx context.Context, name string, config map[string]string, partition, offset map[string]any) error {
	made := map[string]any{"name": name, "config": config, "initial_state": "STOPPED"}
	if err := c.ask(ctx, http.MethodPost, "/connectors", made); err != nil {
		return fmt.Errorf("make the connector %s: %w", name, err)
	}
	offsets := map[string]any{"offsets": []any{map[string]any{"partition": partition, "offset": offset}}}
	if err := c.ask(ctx, http.MethodPatch, "/connectors/"+name+"/offsets", offsets); err != nil {
		return fmt.Errorf("set the offset of the connector %s: %w", name, err)
	}
	if err := c.ask(ctx, http.MethodPut, "/connectors/"+name+"/resume", nil); err != nil {
		return fmt.Errorf("start the connector %s: %w", name, err)
	}
	return nil
}

// ask sends a request with a JSON body, or without one when it is nil.
func (c *Connect) ask(ctx context.Context, method, path string, body any) error {
	ctx, cancel := context.WithTimeout(ctx, connectAsk)
	defer cancel()
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.URL()+path, reader)
	if err != nil {
		return err
	}
	request.Close = true
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusMultipleChoices {
		answer, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s: %s", response.Status, answer)
	}
	return nil
}

// Failed is why the connector or one of its tasks has ended, with Java's trace;
// nil while all of them run.
func (c *Connect) Failed(ctx context.Context, name string) error {
	type state struct{ State, Trace string }
	var status struct {
		Connector state
		Tasks     []state
	}
	if err := getJSON(ctx, c.URL()+"/connectors/"+name+"/status", &status); err != nil {
		return fmt.Errorf("ask for the connector %s: %w", name, err)
	}
	for _, s := range append(status.Tasks, status.Connector) {
		if s.State == "FAILED" {
			return fmt.Errorf("the connector %s has failed: %s", name, strings.TrimSpace(s.Trace))
		}
	}
	return nil
}
