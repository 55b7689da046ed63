// Package localregistry is a schema registry inside this process, for the demo
// and for tests: the part of Confluent's HTTP API that Avro clients use, over
// net/http, with real compatibility rules.
//
// A schema that the subject's level forbids is refused with Confluent's 409 and
// the reason. Levels are all seven of Confluent's; the default is BACKWARD.
// Only Avro without references is known; other requests are refused in words.
//
// Start starts the HTTP server's goroutines, Close ends them.
package localregistry
