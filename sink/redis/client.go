package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/sluice-cdc/sluice/change"
)

// option is how the client connects.
func (c *Config) option() (rueidis.ClientOption, error) {
	password, err := c.password()
	if err != nil {
		return rueidis.ClientOption{}, err
	}
	o := rueidis.ClientOption{
		InitAddress: c.Addresses, Username: c.User, Password: password, SelectDB: c.Database, ClientName: "sluice",
		ForceSingleClient: !c.Cluster, ConnWriteTimeout: c.Timeout,
		DisableCache: true, // nothing is read twice
		RetryDelay:   readAgain,
	}
	if c.TLS || c.TLSCA != "" {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if c.TLSCA != "" {
		pem, err := os.ReadFile(c.TLSCA)
		if err != nil {
			return o, &change.Problem{Kind: change.Configuration, What: "redis.tls_ca cannot be read", Err: err}
		}
		o.TLSConfig.RootCAs = x509.NewCertPool()
		if !o.TLSConfig.RootCAs.AppendCertsFromPEM(pem) {
			return o, &change.Problem{Kind: change.Configuration, What: "no certificate in " + c.TLSCA, Mend: "mend redis.tls_ca"}
		}
	}
	return o, nil
}

// readTries bounds how often a command that only reads is sent again over a new connection. What writes is tried again by the runtime,
// which makes sure first that the partition is still ours.
const readTries = 3

// readAgain says how long to wait before, or that it was enough.
func readAgain(attempts int, _ rueidis.Completed, _ error) time.Duration {
	if attempts > readTries {
		return -1
	}
	return time.Duration(attempts) * 20 * time.Millisecond
}

func (t *Target) where() string { return strings.Join(t.config.Addresses, ",") }

// connect returns the client, which connects anew by itself from then on.
func (t *Target) connect(ctx context.Context) (rueidis.Client, error) {
	t.connecting.Lock()
	defer t.connecting.Unlock()
	t.mu.Lock()
	client := t.client
	t.mu.Unlock()
	if client != nil {
		return client, nil
	}
	option, err := t.config.option()
	if err != nil {
		return nil, err
	}
	option.Dialer.Timeout = t.config.Timeout
	if client, err = rueidis.NewClient(option); err != nil {
		return nil, t.judge("the server cannot be reached", err)
	}
	if err := t.rightKind(ctx, client); err != nil {
		client.Close()
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.client = client
	return client, nil
}

// rightKind makes sure that a cluster is taken for one: alone, a node answers for its own slots only.
func (t *Target) rightKind(ctx context.Context, client rueidis.Client) error {
	ctx, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	for _, node := range client.Nodes() {
		info, err := nodeInfo(ctx, node)
		if err != nil {
			return t.judge("the server cannot be asked what it is", err)
		}
		if is := info["cluster_enabled"] == "1"; is != t.config.Cluster {
			return &change.Problem{Kind: change.Configuration, Where: t.where(), What: fmt.Sprintf("the server is a cluster: %v, redis.cluster says %v", is, t.config.Cluster),
				Why: "a cluster takes only scripts whose keys lie in one slot", Mend: fmt.Sprintf("set redis.cluster: %v", is)}
		}
	}
	return nil
}

// nodeInfo asks a node what it says of itself.
func nodeInfo(ctx context.Context, node rueidis.Client) (map[string]string, error) {
	text, err := node.Do(ctx, node.B().Info().Build()).ToString()
	if err != nil {
		return nil, err
	}
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info, nil
}

// primaries calls each with every node that holds keys of its own.
func (t *Target) primaries(ctx context.Context, client rueidis.Client, each func(address string, node rueidis.Client, info map[string]string) error) error {
	for address, node := range client.Nodes() {
		info, err := nodeInfo(ctx, node)
		if err != nil {
			return t.judge("a node cannot be asked what it is", err)
		}
		if info["role"] == "slave" && t.config.Cluster {
			continue
		}
		if err := each(address, node, info); err != nil {
			return err
		}
	}
	return nil
}

// answers are the beginnings of the server's errors that say what follows.
var answers = []struct {
	begins string
	kind   change.Severity
	mend   string
}{
	{"WRONGPASS", change.Configuration, "mend redis.user and redis.password"},
	{"NOAUTH", change.Configuration, "set redis.password, and redis.user where it is not the default one"},
	{"NOPERM", change.Configuration, "give the user what it lacks: ACL SETUSER <user> ~* +@all -@admin -@dangerous +info"},
	{"CROSSSLOT", change.Configuration, "set redis.cluster: true"},
	{"This instance has cluster support disabled", change.Configuration, "set redis.cluster: false"},
	{"DB index is out of range", change.Configuration, "set a redis.database that the server has"},
	{"invalid DB index", change.Configuration, "set a redis.database that the server has"},
	{"OOM", change.Retry, "raise maxmemory at the server, or remove what is not needed; it is tried again"},
	{"MISCONF", change.Retry, "the server cannot write to its disk; it is tried again"},
	{"READONLY", change.Retry, "the server is a replica: name the primary in redis.addresses; it is tried again"},
	{"NOREPLICAS", change.Retry, "the server has fewer replicas than min-replicas-to-write; it is tried again"},
	{"LOADING", change.Retry, "the server reads its data; it is tried again"},
	{"BUSY", change.Retry, "another script runs at the server; it is tried again"},
	{"TRYAGAIN", change.Retry, "a slot moves to another node; it is tried again"},
	{"Script attempted to access", change.Retry, "a slot moves to another node; it is tried again"},
	{"CLUSTERDOWN", change.Retry, "look at CLUSTER INFO; it is tried again"},
	{"MASTERDOWN", change.Retry, "the server has lost its primary; it is tried again"},
	{"MOVED", change.Retry, "a slot has moved to another node; it is tried again"},
	{"ASK", change.Retry, "a slot moves to another node; it is tried again"},
	{"NOSCRIPT", change.Retry, "the server has forgotten a script; it is tried again"},
}

// judge makes an error of a command into one whose kind says what happens next.
func (t *Target) judge(doing string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || change.SeverityOf(err) != change.Fatal {
		return err
	}
	p := &change.Problem{Kind: change.Retry, What: doing, Where: t.where(), Err: err, Mend: "look at the server; it is tried again"}
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		p.Kind, p.Mend = change.Configuration, "set redis.tls_ca to the authority that signed the server's certificate, and name the server as the certificate does"
	}
	answer, ok := rueidis.IsRedisErr(err)
	if !ok {
		return p
	}
	for _, a := range answers {
		if strings.HasPrefix(answer.Error(), a.begins) {
			p.Kind, p.Mend = a.kind, a.mend
			return p
		}
	}
	p.Kind, p.Mend = change.Poison, "mend what the server says; the topic is tried again every minute"
	return p
}

// script is a Lua script and the name that the server knows it by.
type script struct{ text, sha string }

// tries bounds how often scripts are loaded for one call: a server that forgets them each time has something wrong.
const tries = 3

// run runs a script for each of the lists of keys and arguments, all in one round trip to each node, in order where their keys lie in
// one slot.
func (t *Target) run(ctx context.Context, client rueidis.Client, s script, calls []call) ([]rueidis.RedisResult, error) {
	ctx, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	for try := 1; ; try++ {
		commands := make([]rueidis.Completed, len(calls))
		for i, c := range calls {
			commands[i] = client.B().Evalsha().Sha1(s.sha).Numkeys(int64(len(c.keys))).Key(c.keys...).Arg(c.args...).Build()
		}
		results := client.DoMulti(ctx, commands...)
		unknown := false
		for _, r := range results {
			answer, ok := rueidis.IsRedisErr(r.Error())
			unknown = unknown || ok && answer.IsNoScript()
		}
		if !unknown || try == tries {
			return results, nil
		}
		for _, node := range client.Nodes() {
			if err := node.Do(ctx, node.B().ScriptLoad().Script(s.text).Build()).Error(); err != nil {
				return nil, t.judge("a script could not be loaded", err)
			}
		}
	}
}

// call is one call of a script.
type call struct{ keys, args []string }
