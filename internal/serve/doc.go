// Package serve is the HTTP face and the log of every process: /metrics, /livez, /readyz with reasons, /status, and
// pprof for callers on the same machine.
//
// [Server.Run] starts the one goroutine that serves and ends it before it returns.
package serve
