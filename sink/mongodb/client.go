package mongodb

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/sluice-cdc/sluice/change"
)

const (
	// connectionsMax bounds the connections to each server; each partition in flight uses one.
	connectionsMax = 64
	// selectMax is how long an operation waits for a server that can take it. The runtime tries again.
	selectMax = 10 * time.Second
	// closeMax bounds how long Close waits for the driver.
	closeMax = 5 * time.Second
)

// database returns the target's database. The driver is started at the first use.
func (t *Target) database() (*mongo.Database, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, errors.New("the target is closed")
	}
	if t.client == nil {
		client, err := t.config.connect()
		if err != nil {
			return nil, err
		}
		t.client = client
	}
	return t.client.Database(t.config.Database), nil
}

// connect starts the driver. A write is done when a majority of the servers has it in its journal: one that a failover could take
// back must not be counted as applied.
func (c *Config) connect() (*mongo.Client, error) {
	journal := true
	o := options.Client().ApplyURI(c.URI).SetAppName("sluice").SetTimeout(c.Timeout).SetServerSelectionTimeout(min(c.Timeout, selectMax)).
		SetMaxPoolSize(connectionsMax).SetReadPreference(readpref.Primary()).
		SetWriteConcern(&writeconcern.WriteConcern{W: writeconcern.WCMajority, Journal: &journal})
	if c.User != "" {
		password, err := c.password()
		if err != nil {
			return nil, err
		}
		o.SetAuth(options.Credential{Username: c.User, Password: password, PasswordSet: true, AuthSource: c.AuthSource})
	}
	client, err := mongo.Connect(o)
	if err != nil {
		return nil, &change.Problem{Kind: change.Configuration, What: "the driver refuses mongodb.uri", Mend: "mend mongodb.uri and what belongs to it", Err: err}
	}
	return client, nil
}

// Close lets go of the connections.
func (t *Target) Close() error {
	t.mu.Lock()
	client := t.client
	t.client, t.closed = nil, true
	t.mu.Unlock()
	if client == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeMax)
	defer cancel()
	if err := client.Disconnect(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// where names the servers.
func (t *Target) where() string { return t.config.Database + " on " + t.config.URI }

// The codes of errors by what follows from them; the numbers are MongoDB's, its documentation lists them as error codes.
var (
	codesAgain = []int{6, 7, 24, 50, 89, 91, 112, 133, 134, 189, 202, 216, 262, 317, 358, 9001, 10058, 10107, 11600, 11602, 13388, 13435, 13436}
	codesGrant = []int{13, 18, 8000}
)

const (
	codeDuplicate = 11000
	codeNoNames   = 26 // NamespaceNotFound
	codeExists    = 48 // NamespaceExists
)

// hasCode reports whether the server's answer is an error of one of these codes.
func hasCode(err error, codes ...int) bool {
	var s mongo.ServerError
	return errors.As(err, &s) && slices.ContainsFunc(codes, s.HasErrorCode)
}

// judge makes a problem of an error of the driver: servers that are away are waited for.
func (t *Target) judge(doing string, err error) error {
	var known *change.Problem
	if err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return err
	}
	p := &change.Problem{Kind: change.Retry, What: doing, Where: t.where(), Err: err, Mend: "look at the server; it is tried again"}
	var s mongo.ServerError
	isServer := errors.As(err, &s)
	switch {
	case hasCode(err, codesGrant...) || strings.Contains(err.Error(), "auth error"):
		p.Kind = change.Configuration
		p.Mend = "mend mongodb.user, password and auth_source, or grant the user readWrite on the database " + t.config.Database
	case noMajority(err):
		p.What, p.Mend = doing+": it is not on a majority of the servers", "look at the replica set (rs.status()); it is tried again"
	case !isServer || mongo.IsNetworkError(err) || mongo.IsTimeout(err) || hasCode(err, codesAgain...) ||
		s.HasErrorLabel("RetryableWriteError") || s.HasErrorLabel("TransientTransactionError"):
	default:
		p.Kind = change.Poison
		p.Mend = "do what the server's answer asks for; the topic goes on by itself then"
	}
	return p
}

// noMajority reports whether writes were made and their acknowledgement by a majority is missing: a failover may take them back.
func noMajority(err error) bool {
	var bulk mongo.BulkWriteException
	var single mongo.WriteException
	return errors.As(err, &bulk) && bulk.WriteConcernError != nil || errors.As(err, &single) && single.WriteConcernError != nil
}

// judgeTable is judge with the table that a Poison stops.
func (t *Target) judgeTable(doing string, table *change.Table, err error) error {
	err = t.judge(doing, err)
	if p, ok := err.(*change.Problem); ok && table != nil {
		p.Table = table.TableName
	}
	return err
}
