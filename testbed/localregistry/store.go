package localregistry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/avro"
)

// store is all that the registry knows. It has no lock, clock or file: the
// registry around it brings them. Its fields are the format of the file.
type store struct {
	// LastID is the greatest id ever given; ids are never given twice.
	LastID int `json:"last_id"`
	// Schemas maps an id to the schema's text.
	Schemas map[int]string `json:"schemas"`
	// Subjects has soft-deleted subjects too: those whose versions all are.
	Subjects map[string]*subject `json:"subjects"`
	// Level is the one of subjects without their own.
	Level level `json:"level"`
	// Levels are the subjects' own.
	Levels map[string]level `json:"levels"`

	// ids finds a schema by its identity (see normalize); made from Schemas.
	ids map[string]int
}

type subject struct {
	Versions []version `json:"versions"` // ascending
}

type version struct {
	Version int  `json:"version"`
	ID      int  `json:"id"`
	Deleted bool `json:"deleted,omitempty"`
}

func newStore() *store {
	return &store{
		Schemas: map[int]string{}, Subjects: map[string]*subject{}, Level: levelBackward, Levels: map[string]level{},
		ids: map[string]int{},
	}
}

// clone copies all that a change may write to.
func (s *store) clone() *store {
	copied := &store{
		LastID: s.LastID, Schemas: maps.Clone(s.Schemas), Subjects: make(map[string]*subject, len(s.Subjects)),
		Level: s.Level, Levels: maps.Clone(s.Levels), ids: maps.Clone(s.ids),
	}
	for name, known := range s.Subjects {
		copied.Subjects[name] = &subject{Versions: slices.Clone(known.Versions)}
	}
	return copied
}

// index makes ids from Schemas, after a load.
func (s *store) index() error {
	for id, text := range s.Schemas {
		_, identity, err := normalize(text)
		if err != nil {
			return fmt.Errorf("schema %d: %w", id, err)
		}
		s.ids[identity] = id
	}
	return nil
}

// live are the versions that are not soft-deleted.
func (s *subject) live() []version {
	var live []version
	if s != nil {
		for _, v := range s.Versions {
			if !v.Deleted {
				live = append(live, v)
			}
		}
	}
	return live
}

// levelOf is the level that holds for a subject.
func (s *store) levelOf(name string) level {
	if own, ok := s.Levels[name]; ok {
		return own
	}
	return s.Level
}

// normalize checks a schema and returns it without white space, together with
// the form by which schemas are equal: attributes in a fixed order.
func normalize(text string) (compact, identity string, err error) {
	if _, err := avro.Parse(text); err != nil {
		return "", "", &apiError{codeInvalidSchema, fmt.Sprintf("Invalid schema: %v", err)}
	}
	var buffer bytes.Buffer
	if json.Compact(&buffer, []byte(text)) != nil {
		// A bare primitive name is a schema and no JSON: string, "string".
		return text, strings.Trim(text, `"`), nil
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return "", "", &apiError{codeInvalidSchema, fmt.Sprintf("Invalid schema: %v", err)}
	}
	sorted, err := json.Marshal(value) // map keys come out sorted
	if err != nil {
		return "", "", &apiError{codeInvalidSchema, fmt.Sprintf("Invalid schema: %v", err)}
	}
	return buffer.String(), strings.Trim(string(sorted), `"`), nil
}

// register adds the schema as the subject's next version, unless it is one
// already, and returns its id.
func (s *store) register(name, text string) (id int, err error) {
	compact, identity, err := normalize(text)
	if err != nil {
		return 0, err
	}
	id = s.ids[identity]
	known := s.Subjects[name]
	for _, v := range known.live() {
		if v.ID == id {
			return id, nil
		}
	}
	reasons, err := s.check(name, s.liveTexts(name), compact)
	if err != nil {
		return 0, err
	}
	if len(reasons) > 0 {
		return 0, &apiError{codeIncompatible, fmt.Sprintf(
			"Schema being registered is incompatible with an earlier schema for subject \"%s\", details: [%s, {compatibility: '%s'}]",
			name, strings.Join(reasons, ", "), s.levelOf(name))}
	}
	if id == 0 {
		s.LastID++
		id = s.LastID
		s.Schemas[id] = compact
		s.ids[identity] = id
	}
	if known == nil {
		known = &subject{}
		s.Subjects[name] = known
	}
	next := 1
	if count := len(known.Versions); count > 0 {
		next = known.Versions[count-1].Version + 1
	}
	known.Versions = append(known.Versions, version{Version: next, ID: id})
	return id, nil
}

func (s *store) liveTexts(name string) []string {
	var texts []string
	for _, v := range s.Subjects[name].live() {
		texts = append(texts, s.Schemas[v.ID])
	}
	return texts
}

// check lists the reasons against a schema by the subject's level.
func (s *store) check(name string, earlier []string, text string) ([]string, error) {
	reasons, err := incompatibilities(s.levelOf(name), earlier, text)
	if err != nil {
		return nil, &apiError{codeInvalidSchema, fmt.Sprintf("Invalid schema: %v", err)}
	}
	return reasons, nil
}

// lookup finds the version under which the subject has an equal schema.
func (s *store) lookup(name, text string, deleted bool) (version, error) {
	_, identity, err := normalize(text)
	if err != nil {
		return version{}, err
	}
	versions, err := s.versions(name, deleted)
	if err != nil {
		return version{}, err
	}
	id, registered := s.ids[identity]
	for _, v := range slices.Backward(versions) {
		if registered && v.ID == id {
			return v, nil
		}
	}
	return version{}, &apiError{codeSchemaNotFound, "Schema not found"}
}

// versions are the subject's, with or without the soft-deleted ones.
func (s *store) versions(name string, deleted bool) ([]version, error) {
	known := s.Subjects[name]
	versions := known.live()
	if deleted && known != nil {
		versions = known.Versions
	}
	if len(versions) == 0 {
		return nil, subjectNotFound(name)
	}
	return versions, nil
}

// version finds one by its number, "latest" or "-1".
func (s *store) version(name, number string, deleted bool) (version, error) {
	versions, err := s.versions(name, deleted)
	if err != nil {
		return version{}, err
	}
	if number == "latest" || number == "-1" {
		return versions[len(versions)-1], nil
	}
	wanted, err := strconv.Atoi(number)
	if err != nil || wanted < 1 {
		return version{}, &apiError{codeInvalidVersion, fmt.Sprintf(
			"The specified version '%s' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\"", number)}
	}
	for _, v := range versions {
		if v.Version == wanted {
			return v, nil
		}
	}
	return version{}, versionNotFound(number)
}

// deleteSubject deletes softly, or for good what was deleted softly before.
func (s *store) deleteSubject(name string, permanent bool) ([]int, error) {
	known := s.Subjects[name]
	if known == nil {
		return nil, subjectNotFound(name)
	}
	live := known.live()
	var deleted []int
	switch {
	case permanent && len(live) > 0:
		return nil, &apiError{codeSubjectNotSoftDeleted, fmt.Sprintf("Subject '%s' was not deleted first before being permanently deleted", name)}
	case permanent:
		for _, v := range known.Versions {
			deleted = append(deleted, v.Version)
		}
		delete(s.Subjects, name)
		delete(s.Levels, name)
		s.forgetUnused()
	case len(live) == 0:
		return nil, &apiError{codeSubjectSoftDeleted, fmt.Sprintf("Subject '%s' was soft deleted. Set permanent=true to delete permanently", name)}
	default:
		for i := range known.Versions {
			if !known.Versions[i].Deleted {
				known.Versions[i].Deleted = true
				deleted = append(deleted, known.Versions[i].Version)
			}
		}
		delete(s.Levels, name)
	}
	return deleted, nil
}

// deleteVersion deletes softly, or for good what was deleted softly before.
func (s *store) deleteVersion(name, number string, permanent bool) (int, error) {
	v, err := s.version(name, number, number != "latest" && number != "-1")
	if err != nil {
		return 0, err
	}
	known := s.Subjects[name]
	at := slices.Index(known.Versions, v)
	switch {
	case permanent && !v.Deleted:
		return 0, &apiError{codeVersionNotSoftDeleted, fmt.Sprintf("Subject '%s' Version %d was not deleted first before being permanently deleted", name, v.Version)}
	case permanent:
		known.Versions = slices.Delete(known.Versions, at, at+1)
		if len(known.Versions) == 0 {
			delete(s.Subjects, name)
		}
		s.forgetUnused()
	case v.Deleted:
		return 0, &apiError{codeVersionSoftDeleted, fmt.Sprintf("Subject '%s' Version %d was soft deleted. Set permanent=true to delete permanently", name, v.Version)}
	default:
		known.Versions[at].Deleted = true
	}
	return v.Version, nil
}

// forgetUnused drops schemas that no version has any more.
func (s *store) forgetUnused() {
	used := map[int]bool{}
	for _, known := range s.Subjects {
		for _, v := range known.Versions {
			used[v.ID] = true
		}
	}
	maps.DeleteFunc(s.Schemas, func(id int, _ string) bool { return !used[id] })
	maps.DeleteFunc(s.ids, func(_ string, id int) bool { return !used[id] })
}

// names are the subjects in order, with or without the soft-deleted ones.
func (s *store) names(deleted bool) []string {
	names := []string{}
	for name, known := range s.Subjects {
		if deleted || len(known.live()) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
