package registry

import (
	"encoding/binary"
	"fmt"

	"github.com/sluice-cdc/sluice/change"
)

// FrameBytes is the length of Confluent's frame: byte 0, then the schema's id, 4 bytes big-endian.
const FrameBytes = 5

// AppendFrame appends the frame of a schema id; the Avro body follows.
func AppendFrame(dst []byte, id int) []byte {
	return binary.BigEndian.AppendUint32(append(dst, 0), uint32(id))
}

// ReadFrame takes the frame off; body aliases b. Bytes without one are a Problem of kind Poison.
func ReadFrame(b []byte) (id int, body []byte, err error) {
	if len(b) < FrameBytes || b[0] != 0 {
		return 0, nil, &change.Problem{
			Kind: change.Poison,
			What: fmt.Sprintf("unknown topic content: %d bytes that do not begin with Confluent's frame (byte 0, schema id)", len(b)),
			Why:  "without the schema's id the bytes have no meaning",
			Mend: "point the sink at topics that sluice-source writes",
		}
	}
	return int(binary.BigEndian.Uint32(b[1:])), b[FrameBytes:], nil
}
