package kafka

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// The vectors are those of Kafka's UtilsTest.testMurmur2.
func TestMurmur2IsJavas(t *testing.T) {
	for in, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(in))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", in, got, want)
		}
	}
}

func TestPartitionIsTheKafkaClientsDefault(t *testing.T) {
	p := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "key")
		n := rapid.Int32Range(1, 1000).Draw(t, "partitions")
		if got, want := Partition(key, n), int32(p.Partition(&kgo.Record{Key: key}, int(n))); got != want {
			t.Fatalf("Partition(%x, %d) = %d, want %d", key, n, got, want)
		}
	})
}

func TestPartitionOfAnEmptyKeyBody(t *testing.T) {
	// Utils.toPositive(Utils.murmur2(new byte[0])) is 275646681.
	if got := murmur2(nil) & 0x7fffffff; got != 275646681 {
		t.Errorf("murmur2 of nothing = %d", got)
	}
	if got := Partition(nil, 1); got != 0 {
		t.Errorf("Partition(nil, 1) = %d", got)
	}
}
