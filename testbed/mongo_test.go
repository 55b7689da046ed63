package testbed

import (
	"bufio"
	"net"
	"testing"
)

// TestMongoStartsAgain: after an orderly end and after a crash it listens on the same port.
func TestMongoStartsAgain(t *testing.T) {
	needsTime(t)
	t.Parallel()
	if err := Available(t.Context(), "mongo-java-server"); err != nil {
		t.Skip(err)
	}
	mongo, err := StartMongo(t.Context(), MongoOptions{Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, mongo)
	killAndStart(t, mongo)
	if err := mongo.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if err := mongo.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", mongo.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The command {isMaster: 1} on admin as the protocol's oldest query, which every server answers.
	query := "\x3a\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xd4\x07\x00\x00\x00\x00\x00\x00admin.$cmd\x00\x00\x00\x00\x00\xff\xff\xff\xff" +
		"\x13\x00\x00\x00\x10isMaster\x00\x01\x00\x00\x00\x00"
	if _, err := conn.Write([]byte(query)); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).Peek(36); err != nil {
		t.Errorf("it does not answer: %v", err)
	}
}
