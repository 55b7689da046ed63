package testbed

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	jdbcSinkVersion = "3.5.0.Final"
	avroConverter   = "2.6.13.Final" // speaks the registry's API of version 2, which version 3 still has
	connectCache    = "connect-jdbc-" + jdbcSinkVersion + "-avro-" + avroConverter
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

// ConnectOptions say how to start Kafka Connect.
type ConnectOptions struct {
	// Kafka is the broker's address.
	Kafka string
	// Registry has the schemas of keys and values, which are Avro.
	Registry *Registry
	// HeapMB bounds the Java heap, in megabytes; default 256.
	HeapMB int
	// Dir is the folder in which the instance's folder is made; default the
	// system's temp folder.
	Dir string
	Log Log
}

// Connect is a running Kafka Connect worker on its own, with Debezium's JDBC
// sink and an Avro converter. After Kill and Start it knows no connectors any
// more, until they are Put again; a sink's offsets are in Kafka.
type Connect struct {
	*server

	// Version is Kafka's; JDBCSink is the connector's.
	Version, JDBCSink string
}

// StartConnect fetches Kafka and the plugins when they are not in the cache,
// starts a worker and waits until it answers. The caller must Stop it.
func StartConnect(ctx context.Context, o ConnectOptions) (*Connect, error) {
	kafka, plugins, err := connectInstall(ctx, o.Log)
	if err != nil {
		unmet("connect", err)
		return nil, err
	}
	base, err := newServer("connect", o.Dir, "connect.log")
	if err != nil {
		return nil, err
	}
	c := &Connect{server: base, Version: kafkaVersion, JDBCSink: jdbcSinkVersion}
	if err := c.prepare(kafka, plugins, o); err != nil {
		return nil, joinStop(fmt.Errorf("prepare Kafka Connect: %w", err), c)
	}
	if err := c.Start(ctx); err != nil {
		return nil, joinStop(err, c)
	}
	o.Log.printf("Kafka Connect %s with Debezium's JDBC sink %s ready on %s, pid %d", c.Version, c.JDBCSink, c.URL(), c.Pid())
	met("kafka-connect", kafkaVersion)
	met("debezium-jdbc-sink", jdbcSinkVersion)
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

func (p connectPlugin) fetch(ctx context.Context, dir string) error {
	if err := mavenCopy(ctx, dir, p.project); err != nil {
		return err
	}
	for _, pattern := range p.without {
		jars, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, jar := range jars {
			if err := os.Remove(jar); err != nil {
				return err
			}
		}
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
		properties[side+".converter"] = avroConverterClass
		properties[side+".converter.apicurio.registry.url"] = "http://" + o.Registry.Address() + "/apis/registry/v2"
		properties[side+".converter.apicurio.registry.as-confluent"] = "true"
		properties[side+".converter.apicurio.registry.use-id"] = "contentId"
	}
	path := filepath.Join(c.dir, "worker.properties")
	if err := writeProperties(path, properties); err != nil {
		return err
	}
	if _, err := kafkaJava(kafka, heap); err != nil {
		return err
	}
	c.command = func() *exec.Cmd {
		cmd, _ := kafkaJava(kafka, heap, "org.apache.kafka.connect.cli.ConnectStandalone", path) // Java was found a moment ago
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
	ctx, cancel := context.WithTimeout(ctx, connectAsk)
	defer cancel()
	body, err := json.Marshal(config)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, c.URL()+"/connectors/"+name+"/config", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Close = true
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("make the connector %s: %w", name, err)
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusMultipleChoices {
		answer, _ := io.ReadAll(response.Body)
		return fmt.Errorf("make the connector %s: %s: %s", name, response.Status, answer)
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
