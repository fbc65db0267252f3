package firestoreserver

import (
	"errors"
	"os"
	"path/filepath"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"exportd/internal/localcloud/firestoreserver/fsindex"
)

// maxLearned bounds the missing indexes that are remembered: production allows no more.
const maxLearned = 1000

// learned are the missing indexes that were told about already.
type learned struct {
	mu   sync.Mutex
	keys map[string]bool
	file []byte // firestore.indexes.json with all of them
}

// allow is nil where the mode has a query served without its index, which is logged once, in the words of
// firestore.indexes.json, and written to the file of those that are learned.
func (s *Server) allow(err error) error {
	missing, ok := errors.AsType[*fsindex.MissingError](err)
	if !ok {
		return err
	}
	if s.opt.IndexMode == Enforce {
		return s.noIndex(missing)
	}
	if s.opt.IndexMode == Auto {
		s.learn(missing)
	}
	return nil
}

// section is where the definition of an index belongs.
func section(e *fsindex.MissingError) string {
	if e.Exemption {
		return "fieldOverrides"
	}
	return "indexes"
}

// noIndexError has production's words, and then those that help here, where the console cannot.
type noIndexError struct {
	*fsindex.MissingError
	hint string
}

func (e *noIndexError) Error() string {
	return e.MissingError.Error() + " (of this server no console knows: add to " + section(e.MissingError) + " of its index file " + e.Definition() + e.hint + ")"
}

// GRPCStatus implements what the status package looks for.
func (e *noIndexError) GRPCStatus() *status.Status {
	return status.New(codes.FailedPrecondition, e.Error())
}

// Unwrap has errors.As find the definition.
func (e *noIndexError) Unwrap() error { return e.MissingError }

func (s *Server) noIndex(e *fsindex.MissingError) error {
	hint := ""
	if s.opt.IndexHint != "" {
		hint = ", or " + s.opt.IndexHint
	}
	return &noIndexError{e, hint}
}

func (s *Server) learn(e *fsindex.MissingError) {
	l := &s.learned
	l.mu.Lock()
	defer l.mu.Unlock()
	key := e.Index.Key()
	if l.keys[key] || len(l.keys) >= maxLearned {
		return
	}
	if l.keys == nil {
		l.keys, l.file = map[string]bool{}, s.opt.IndexesJSON
	}
	l.keys[key] = true
	s.log.Warn("query served without its index", "index", key, "section", section(e), "definition", e.Definition())
	if s.opt.LearnFile == "" {
		return
	}
	file, err := e.AddTo(l.file)
	if err == nil {
		err = replaceFile(s.opt.LearnFile, file)
	}
	if err != nil {
		s.log.Error("learn index", "file", s.opt.LearnFile, "error", err.Error())
		return
	}
	l.file = file
}

// replaceFile lets nobody see half of it.
func replaceFile(path string, data []byte) error {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
