package publish

// states holds the checkpoint's records of one transaction, the newest of each key, in the order in which the keys
// first came.
type states struct {
	keys   []string
	values map[string][]byte
}

func (s *states) put(key string, value []byte) {
	if s.values == nil {
		s.values = map[string][]byte{}
	}
	if _, ok := s.values[key]; !ok {
		s.keys = append(s.keys, key)
	}
	s.values[key] = value
}

func (s *states) each(fn func(key string, value []byte)) {
	for _, k := range s.keys {
		fn(k, s.values[k])
	}
}

func (s *states) clear() {
	s.keys = s.keys[:0]
	clear(s.values)
}
