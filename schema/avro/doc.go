// Package avro turns rows into the Avro bytes of their topic and back.
//
// An [Encoder] takes a row in either of the two forms that Sluice meets it in, as the binlog's row image or as the
// crawl's SELECT returns it, and gives the same bytes for both: each value is first read into one and the same
// scalar (a number, a calendar date, UTF-8), and only that is written. A [Decoder] and a [KeyDecoder] give the row
// back as change.Values in canonical form. None of them makes an interface value or allocates for a row; they append
// to buffers of the caller and alias the record.
//
// Bytes here are bare Avro, without Confluent's frame (package registry has that). Encoders and decoders do not change
// once they are made and are safe for concurrent use; what they fill (a buffer, a Decoded) belongs to one caller.
// Nothing here starts a goroutine, does I/O or reads a clock.
package avro
