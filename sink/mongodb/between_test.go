package mongodb_test

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// between stands between a target and the server and may answer in its place.
type between struct {
	listener net.Listener
	server   string

	mu     sync.Mutex // guards the following
	answer func(command bson.Raw) bson.D
}

// newBetween listens for drivers that are meant for the server.
func newBetween(t *testing.T, server string) *between {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &between{listener: listener, server: server}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { b.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	return b
}

// set makes answer the one who is asked first for each command of the protocol's current kind; nil leaves it to the server.
func (b *between) set(answer func(command bson.Raw) bson.D) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = answer
}

func (b *between) uri() string { return "mongodb://" + b.listener.Addr().String() }

func (b *between) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", b.server)
	if err != nil {
		return
	}
	defer server.Close()
	for {
		request, err := readMessage(client)
		if err != nil {
			return
		}
		answer := b.answerTo(request)
		if answer == nil {
			if _, err := server.Write(request); err != nil {
				return
			}
			if answer, err = readMessage(server); err != nil {
				return
			}
		}
		if _, err := client.Write(answer); err != nil {
			return
		}
	}
}

func readMessage(from io.Reader) ([]byte, error) {
	header := make([]byte, 16)
	if _, err := io.ReadFull(from, header); err != nil {
		return nil, err
	}
	m := append(header, make([]byte, binary.LittleEndian.Uint32(header)-16)...)
	_, err := io.ReadFull(from, m[16:])
	return m, err
}

const opMsg = 2013

func (b *between) answerTo(request []byte) []byte {
	if binary.LittleEndian.Uint32(request[12:]) != opMsg || request[20] != 0 {
		return nil
	}
	size := binary.LittleEndian.Uint32(request[21:])
	b.mu.Lock()
	answer := b.answer
	b.mu.Unlock()
	if answer == nil {
		return nil
	}
	said := answer(bson.Raw(request[21 : 21+size]))
	if said == nil {
		return nil
	}
	body, err := bson.Marshal(said)
	if err != nil {
		panic(err)
	}
	m := binary.LittleEndian.AppendUint32(nil, uint32(21+len(body)))
	m = binary.LittleEndian.AppendUint32(m, 1)
	m = append(m, request[4:8]...) // what it answers
	m = binary.LittleEndian.AppendUint32(m, opMsg)
	return append(append(m, 0, 0, 0, 0, 0), body...)
}

// named is the name of a command.
func named(command bson.Raw) string {
	elements, err := command.Elements()
	if err != nil || len(elements) == 0 {
		return ""
	}
	return strings.ToLower(elements[0].Key())
}

// failing is the answer to a bulk of which the first write failed and no other was made.
func failing(code int, text string) bson.D {
	return bson.D{{Key: "ok", Value: 1}, {Key: "n", Value: 0}, {Key: "nModified", Value: 0},
		{Key: "writeErrors", Value: bson.A{bson.D{{Key: "index", Value: 0}, {Key: "code", Value: code}, {Key: "errmsg", Value: text}}}}}
}

const duplicateID = "E11000 duplicate key error collection: d.c index: _id_ dup key: { _id: 1 }"
