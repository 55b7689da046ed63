package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// stateFormat is the version of the state file.
const stateFormat = 1

// State is how far a run has come, for one that goes on where another was cut off. What was compared is not compared again: the
// report says of each row what was so when it was.
type State struct {
	Format  int                    `json:"format"`
	Group   string                 `json:"group"`
	Started time.Time              `json:"started"`
	Tables  map[string]*tableState `json:"tables"` // by topic

	file string
	mu   sync.Mutex // guards writing
}

type tableState struct {
	TopicID [16]byte    `json:"topic_id"`
	Done    bool        `json:"done"`
	Place   tablePlace  `json:"place"`
	Result  TableResult `json:"result"`
}

// tablePlace is where a table's comparison goes on: behind the chunks that are done without a gap, or with the next pass.
type tablePlace struct {
	Chunk  int    `json:"chunk"`
	After  []byte `json:"after,omitempty"` // key bytes; empty: the table's beginning
	End    bool   `json:"end,omitempty"`   // the last range is done too
	Pass   int    `json:"pass"`
	Passes int    `json:"passes"` // 0: compared by key range

	ahead map[int]*chunk // done before one of a lower number
}

func (p *tablePlace) after() []change.Value {
	if len(p.After) == 0 {
		return nil
	}
	values, err := parseKey(p.After)
	if err != nil {
		return nil // from the beginning
	}
	return values
}

// done notes a chunk that is compared, and returns those that are now done without a gap: a run that goes on where this one ends
// begins behind them.
func (p *tablePlace) done(c *chunk) (settled []*chunk) {
	if p.ahead == nil {
		p.ahead = make(map[int]*chunk)
	}
	p.ahead[c.number] = c
	for next := p.ahead[p.Chunk]; next != nil; next = p.ahead[p.Chunk] {
		delete(p.ahead, p.Chunk)
		p.Chunk++
		settled = append(settled, next)
		p.End = next.through == nil
		if next.through != nil {
			p.After = p.After[:0:0]
			for _, v := range next.through {
				p.After = appendKeyValue(p.After, &change.Column{Unsigned: v.Kind == change.Uint64}, v)
			}
		}
	}
	return settled
}

// LoadState reads a state file; one that is not there is a beginning. Another group's is refused.
func LoadState(file, group string) (*State, error) {
	fresh := &State{Format: stateFormat, Group: group, Started: time.Now(), Tables: make(map[string]*tableState), file: file}
	if file == "" {
		return fresh, nil
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return fresh, nil
	}
	s := &State{file: file}
	if err == nil {
		err = json.Unmarshal(text, s)
	}
	if err == nil && s.Format != stateFormat {
		err = fmt.Errorf("it has format %d, this program knows %d", s.Format, stateFormat)
	}
	if err != nil {
		return nil, &change.Problem{Kind: change.Configuration, What: "the state file cannot be read", Where: file, Err: err, Mend: "remove it to begin anew"}
	}
	if s.Group != group {
		return nil, &change.Problem{Kind: change.Configuration, What: fmt.Sprintf("the state file is of group %s", s.Group), Where: file, Mend: "name another file with --state"}
	}
	for _, t := range s.Tables {
		if !t.Done {
			return s, nil
		}
	}
	return fresh, nil // that run came to its end
}

// write replaces the file, if there is to be one.
func (s *State) write() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == "" {
		return nil
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(s.file), filepath.Base(s.file)+".*")
	if err != nil {
		return fmt.Errorf("write the state file: %w", err)
	}
	defer os.Remove(next.Name())
	_, err = next.Write(text)
	if closeErr := next.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(next.Name(), s.file)
	}
	if err != nil {
		return fmt.Errorf("write the state file: %w", err)
	}
	return nil
}
