package kafka

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
)

// Explain turns an error of the client or broker into a change.Problem that says whether to try again and what
// helps. what is the thing that was tried ("read the checkpoint"), where the topic or broker. A Problem that is in
// err's chain already, a cancelled context and nil are returned as they are.
func Explain(err error, what, where string) error {
	var known *change.Problem
	if err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return err
	}
	p := &change.Problem{Kind: change.Retry, What: what, Where: where, Err: err}
	for _, e := range explained {
		if errors.Is(err, e.err) {
			p.Kind, p.Why, p.Mend = e.kind, e.why, e.mend
			return p
		}
	}
	switch {
	case isTLS(err):
		p.Kind = change.Configuration
		p.Why = "the broker's certificate or the encryption of the connection was not accepted"
		p.Mend = "check kafka.tls (ca, server_name) against the broker's listener; a plain listener needs no tls block"
	case errors.Is(err, io.EOF):
		p.Why = "a broker closed the connection: its listener expects TLS, another login or none, or it is going down"
		p.Mend = "check kafka.tls and kafka.sasl against the listener at kafka.brokers"
	case unreachable(err):
		p.Why = "no broker of kafka.brokers answered; nothing can be published or read until one does"
		p.Mend = "check kafka.brokers, the brokers' advertised.listeners, and that the network lets them through"
	}
	return p
}

// explained are the broker's answers that need a person, or that have a cause worth telling.
var explained = []struct {
	err       error
	kind      change.Severity
	why, mend string
}{
	{kerr.SaslAuthenticationFailed, change.Configuration, "the broker does not accept this user or password",
		"check kafka.sasl: mechanism, user, password"},
	{kerr.UnsupportedSaslMechanism, change.Configuration, "the broker's listener does not offer this SASL mechanism",
		"set kafka.sasl.mechanism to one that the listener has enabled"},
	{kerr.IllegalSaslState, change.Configuration, "the broker's listener does not expect this SASL exchange", "check kafka.sasl and the port"},
	{kerr.TopicAuthorizationFailed, change.Configuration, "the user may not use this topic",
		"kafka-acls --add --allow-principal User:… --operation All --resource-pattern-type prefixed --topic <prefix>."},
	{kerr.TransactionalIDAuthorizationFailed, change.Configuration, "the user may not use the transactional ids",
		"kafka-acls --add --allow-principal User:… --operation Write --operation Describe --transactional-id <prefix> --transactional-id <prefix>.2"},
	{kerr.GroupAuthorizationFailed, change.Configuration, "the user may not use the consumer group",
		"kafka-acls --add --allow-principal User:… --operation Read --group <group>"},
	{kerr.ClusterAuthorizationFailed, change.Configuration, "the user may not do this on the cluster",
		"kafka-acls --add --allow-principal User:… --operation Create --operation DescribeConfigs --cluster"},
	{kerr.InvalidTransactionTimeout, change.Configuration, "the transaction time-out is above what the broker allows",
		"lower transaction_timeout, or raise transaction.max.timeout.ms on the brokers"},
	{kerr.InvalidReplicationFactor, change.Configuration, "there are fewer brokers than copies asked for",
		"lower kafka.replication, or start more brokers"},
	{kerr.PolicyViolation, change.Configuration, "a policy of the cluster refuses these settings",
		"make the topic by hand with settings the policy takes, or ask who runs the cluster"},
	{kerr.UnsupportedVersion, change.Configuration, "the broker is too old for this request", "Sluice needs Kafka 2.5 or newer"},
	{kerr.NotEnoughReplicas, change.Retry, "fewer copies are in sync than min.insync.replicas asks for",
		"bring the failed brokers back"},
}

func unreachable(err error) bool {
	var dial *net.OpError
	var dns *net.DNSError
	return errors.As(err, &dial) || errors.As(err, &dns) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, kgo.ErrClientClosed) || strings.Contains(err.Error(), "unable to dial")
}

func isTLS(err error) bool {
	s := err.Error()
	return strings.Contains(s, "tls: ") || strings.Contains(s, "x509: ")
}
