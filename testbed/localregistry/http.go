package localregistry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

const (
	contentType = "application/vnd.schemaregistry.v1+json"
	// requestBytesMax bounds a request; the widest table of MySQL (4,096
	// columns) makes a schema of about 1 MB.
	requestBytesMax = 16 << 20
)

// schemaRequest is the body of the requests that bring a schema.
type schemaRequest struct {
	Schema     string            `json:"schema"`
	Type       string            `json:"schemaType"`
	References []json.RawMessage `json:"references"`
	ID         int               `json:"id"`
}

// subjectVersion is the long answer.
type subjectVersion struct {
	Subject string `json:"subject"`
	Version int    `json:"version"`
	ID      int    `json:"id"`
	Schema  string `json:"schema"`
}

// answerer handles a request: the answer as JSON, or an error.
type answerer func(*http.Request) (any, error)

// rawText is an answer that is not wrapped in JSON.
type rawText string

func (r *Registry) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, answer := range map[string]answerer{
		"GET /{$}":                                                  r.getRoot,
		"GET /schemas/types":                                        r.getTypes,
		"GET /schemas":                                              r.getSchemas,
		"GET /schemas/ids/{id}":                                     r.getSchema,
		"GET /schemas/ids/{id}/schema":                              r.getSchemaText,
		"GET /schemas/ids/{id}/subjects":                            r.getSchemaSubjects,
		"GET /schemas/ids/{id}/versions":                            r.getSchemaVersions,
		"GET /subjects":                                             r.getSubjects,
		"POST /subjects/{subject}":                                  r.postLookup,
		"DELETE /subjects/{subject}":                                r.deleteSubject,
		"GET /subjects/{subject}/versions":                          r.getVersions,
		"POST /subjects/{subject}/versions":                         r.postRegister,
		"GET /subjects/{subject}/versions/{version}":                r.getVersion,
		"DELETE /subjects/{subject}/versions/{version}":             r.deleteVersion,
		"GET /subjects/{subject}/versions/{version}/schema":         r.getVersionText,
		"GET /subjects/{subject}/versions/{version}/referencedby":   r.getReferencedBy,
		"POST /compatibility/subjects/{subject}/versions":           r.postCompatible,
		"POST /compatibility/subjects/{subject}/versions/{version}": r.postCompatible,
		"GET /config":                                               r.getConfig,
		"PUT /config":                                               r.putConfig,
		"DELETE /config":                                            r.deleteConfig,
		"GET /config/{subject}":                                     r.getConfig,
		"PUT /config/{subject}":                                     r.putConfig,
		"DELETE /config/{subject}":                                  r.deleteConfig,
		"GET /mode":                                                 r.getMode,
		"GET /mode/{subject}":                                       r.getMode,
	} {
		mux.Handle(pattern, answer)
	}
	mux.Handle("/", answerer(func(req *http.Request) (any, error) {
		return nil, &apiError{codeNoSuchResource, fmt.Sprintf("the local registry has no %s %s", req.Method, req.URL.Path)}
	}))
	return mux
}

// ServeHTTP writes the answer or the error in Confluent's form.
func (a answerer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	answer, err := a(req)
	w.Header().Set("Content-Type", contentType)
	if err != nil {
		var problem *apiError
		if !errors.As(err, &problem) {
			problem = &apiError{codeStoreFailed, err.Error()}
		}
		w.WriteHeader(problem.status())
		answer = problem
	}
	if text, raw := answer.(rawText); raw {
		_, _ = io.WriteString(w, string(text)) // the client went away
		return
	}
	_ = json.NewEncoder(w).Encode(answer) // the client went away
}

func readSchema(req *http.Request) (string, error) {
	var body schemaRequest
	if err := readBody(req, &body); err != nil {
		return "", err
	}
	switch {
	case body.Type != "" && body.Type != "AVRO":
		return "", &apiError{codeInvalidSchema, "Invalid schema: the local registry knows Avro only, not " + body.Type}
	case len(body.References) > 0:
		return "", &apiError{codeInvalidSchema, "Invalid schema: the local registry knows no references"}
	case body.ID > 0:
		return "", &apiError{codeOperationNotPermitted, "the local registry has no import mode: it gives the ids itself"}
	}
	return body.Schema, nil
}

func readBody(req *http.Request, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(nil, req.Body, requestBytesMax))
	if err := decoder.Decode(into); err != nil {
		return &apiError{codeMalformedRequest, fmt.Sprintf("the request's body is no JSON of the expected form: %v", err)}
	}
	return nil
}

func flag(req *http.Request, name string) bool {
	return strings.EqualFold(req.URL.Query().Get(name), "true")
}

func (r *Registry) getRoot(*http.Request) (any, error) { return struct{}{}, nil }

func (r *Registry) getTypes(*http.Request) (any, error) { return []string{"AVRO"}, nil }

func (r *Registry) getMode(*http.Request) (any, error) {
	return map[string]string{"mode": "READWRITE"}, nil
}

func (r *Registry) getSchemas(req *http.Request) (any, error) {
	prefix, latest := req.URL.Query().Get("subjectPrefix"), flag(req, "latestOnly")
	return r.view(func(s *store) (any, error) {
		all := []subjectVersion{}
		for _, name := range s.names(flag(req, "deleted")) {
			versions, err := s.versions(name, flag(req, "deleted"))
			if err != nil || !strings.HasPrefix(name, prefix) {
				continue
			}
			if latest {
				versions = versions[len(versions)-1:]
			}
			for _, v := range versions {
				all = append(all, subjectVersion{name, v.Version, v.ID, s.Schemas[v.ID]})
			}
		}
		return all, nil
	})
}

// schemaByID finds the text of the id in the path.
func (s *store) schemaByID(req *http.Request) (id int, text string, err error) {
	id, err = strconv.Atoi(req.PathValue("id"))
	text, known := s.Schemas[id]
	if err != nil || !known {
		return 0, "", schemaNotFound(req.PathValue("id"))
	}
	return id, text, nil
}

func (r *Registry) getSchema(req *http.Request) (any, error) {
	return r.view(func(s *store) (any, error) {
		_, text, err := s.schemaByID(req)
		return map[string]string{"schema": text}, err
	})
}

func (r *Registry) getSchemaText(req *http.Request) (any, error) {
	return r.view(func(s *store) (any, error) {
		_, text, err := s.schemaByID(req)
		return rawText(text), err
	})
}

// usages are the subject versions that have the schema.
func (r *Registry) usages(req *http.Request) ([]subjectVersion, error) {
	usages := []subjectVersion{}
	_, err := r.view(func(s *store) (any, error) {
		id, _, err := s.schemaByID(req)
		if err != nil {
			return nil, err
		}
		for _, name := range s.names(true) {
			for _, v := range s.Subjects[name].Versions {
				if v.ID == id && (!v.Deleted || flag(req, "deleted")) {
					usages = append(usages, subjectVersion{Subject: name, Version: v.Version})
				}
			}
		}
		return nil, nil
	})
	return usages, err
}

func (r *Registry) getSchemaVersions(req *http.Request) (any, error) {
	type pair struct {
		Subject string `json:"subject"`
		Version int    `json:"version"`
	}
	usages, err := r.usages(req)
	pairs := make([]pair, len(usages))
	for i, usage := range usages {
		pairs[i] = pair{usage.Subject, usage.Version}
	}
	return pairs, err
}

func (r *Registry) getSchemaSubjects(req *http.Request) (any, error) {
	usages, err := r.usages(req)
	names := []string{}
	for _, usage := range usages {
		if len(names) == 0 || names[len(names)-1] != usage.Subject {
			names = append(names, usage.Subject)
		}
	}
	return names, err
}

func (r *Registry) getSubjects(req *http.Request) (any, error) {
	prefix := req.URL.Query().Get("subjectPrefix")
	return r.view(func(s *store) (any, error) {
		names := []string{}
		for _, name := range s.names(flag(req, "deleted") || flag(req, "deletedOnly")) {
			isDeleted := len(s.Subjects[name].live()) == 0
			if strings.HasPrefix(name, prefix) && (isDeleted || !flag(req, "deletedOnly")) {
				names = append(names, name)
			}
		}
		return names, nil
	})
}

func (r *Registry) postLookup(req *http.Request) (any, error) {
	text, err := readSchema(req)
	if err != nil {
		return nil, err
	}
	name := req.PathValue("subject")
	return r.view(func(s *store) (any, error) {
		v, err := s.lookup(name, text, flag(req, "deleted"))
		return subjectVersion{name, v.Version, v.ID, s.Schemas[v.ID]}, err
	})
}

func (r *Registry) postRegister(req *http.Request) (any, error) {
	text, err := readSchema(req)
	if err != nil {
		return nil, err
	}
	return r.update(func(s *store) (any, error) {
		id, err := s.register(req.PathValue("subject"), text)
		return map[string]int{"id": id}, err
	})
}

func (r *Registry) deleteSubject(req *http.Request) (any, error) {
	return r.update(func(s *store) (any, error) {
		return s.deleteSubject(req.PathValue("subject"), flag(req, "permanent"))
	})
}

func (r *Registry) deleteVersion(req *http.Request) (any, error) {
	return r.update(func(s *store) (any, error) {
		return s.deleteVersion(req.PathValue("subject"), req.PathValue("version"), flag(req, "permanent"))
	})
}

func (r *Registry) getVersions(req *http.Request) (any, error) {
	return r.view(func(s *store) (any, error) {
		versions, err := s.versions(req.PathValue("subject"), flag(req, "deleted") || flag(req, "deletedOnly"))
		numbers := []int{}
		for _, v := range versions {
			if v.Deleted || !flag(req, "deletedOnly") {
				numbers = append(numbers, v.Version)
			}
		}
		return numbers, err
	})
}

func (r *Registry) getVersion(req *http.Request) (any, error) {
	name := req.PathValue("subject")
	return r.view(func(s *store) (any, error) {
		v, err := s.version(name, req.PathValue("version"), flag(req, "deleted"))
		return subjectVersion{name, v.Version, v.ID, s.Schemas[v.ID]}, err
	})
}

func (r *Registry) getVersionText(req *http.Request) (any, error) {
	return r.view(func(s *store) (any, error) {
		v, err := s.version(req.PathValue("subject"), req.PathValue("version"), flag(req, "deleted"))
		return rawText(s.Schemas[v.ID]), err
	})
}

// getReferencedBy answers for a version that exists; nothing refers to it.
func (r *Registry) getReferencedBy(req *http.Request) (any, error) {
	return r.view(func(s *store) (any, error) {
		_, err := s.version(req.PathValue("subject"), req.PathValue("version"), flag(req, "deleted"))
		return []int{}, err
	})
}

// postCompatible checks against one version, or against the subject's versions
// as a registration would, and changes nothing.
func (r *Registry) postCompatible(req *http.Request) (any, error) {
	text, err := readSchema(req)
	if err != nil {
		return nil, err
	}
	name, number := req.PathValue("subject"), req.PathValue("version")
	return r.view(func(s *store) (any, error) {
		if _, _, err := normalize(text); err != nil {
			return nil, err
		}
		earlier := s.liveTexts(name)
		if number != "" {
			v, err := s.version(name, number, false)
			if err != nil {
				return nil, err
			}
			earlier = []string{s.Schemas[v.ID]}
		}
		reasons, err := s.check(name, earlier, text)
		answer := map[string]any{"is_compatible": len(reasons) == 0}
		if flag(req, "verbose") {
			answer["messages"] = append([]string{}, reasons...)
		}
		return answer, err
	})
}

func (r *Registry) getConfig(req *http.Request) (any, error) {
	name := req.PathValue("subject")
	return r.view(func(s *store) (any, error) {
		_, own := s.Levels[name]
		if name != "" && !own && !flag(req, "defaultToGlobal") {
			return nil, &apiError{codeLevelNotConfigured, fmt.Sprintf("Subject '%s' does not have subject-level compatibility configured", name)}
		}
		return map[string]level{"compatibilityLevel": s.levelOf(name)}, nil
	})
}

func (r *Registry) putConfig(req *http.Request) (any, error) {
	var body struct {
		Compatibility string `json:"compatibility"`
	}
	if err := readBody(req, &body); err != nil {
		return nil, err
	}
	wanted, ok := parseLevel(body.Compatibility)
	if !ok {
		return nil, &apiError{codeInvalidLevel, "Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive"}
	}
	name := req.PathValue("subject")
	return r.update(func(s *store) (any, error) {
		if name == "" {
			s.Level = wanted
		} else {
			s.Levels[name] = wanted
		}
		return map[string]level{"compatibility": wanted}, nil
	})
}

// deleteConfig goes back to the level above: the global one, or BACKWARD.
func (r *Registry) deleteConfig(req *http.Request) (any, error) {
	name := req.PathValue("subject")
	return r.update(func(s *store) (any, error) {
		before := s.levelOf(name)
		if name == "" {
			s.Level = levelBackward
			return map[string]level{"compatibilityLevel": before}, nil
		}
		if _, own := s.Levels[name]; !own {
			return nil, &apiError{codeLevelNotConfigured, fmt.Sprintf("Subject '%s' does not have subject-level compatibility configured", name)}
		}
		delete(s.Levels, name)
		return map[string]level{"compatibilityLevel": before}, nil
	})
}
