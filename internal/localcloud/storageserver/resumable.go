package storageserver

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/zap"
	"google.golang.org/api/storage/v1"
)

// session is a resumable upload. The state is in the index from start to end; the bytes that have come are
// the file itself, whose length is the offset to go on from, also after a restart.
type session struct {
	id string

	mu     sync.Mutex // one request at a time
	state  sessionState
	digest *digest // nil until the file was read after a restart

	reading sync.Mutex
	current *http.ResponseController // of the request that reads its body now
}

// sessionState is what the index keeps. Once Done, it holds the answer, to be given again to a client that
// lost it.
type sessionState struct {
	Bucket  string          `json:"bucket"`
	Object  *storage.Object `json:"object"`
	Cond    conditions      `json:"cond"`
	Blob    int64           `json:"blob"`
	Started time.Time       `json:"started"`
	Done    bool            `json:"done,omitempty"`
	Refused *apiError       `json:"refused,omitempty"`
}

func (s *sessionState) whole() bool { return s.Object != nil }

// sessionLife is how long an upload may rest, and its answer be asked for. Cloud Storage gives a week; here
// the files of abandoned uploads take the user's own disk, and the client resumes within minutes or never.
const sessionLife = 6 * time.Hour

// idle is how long nothing has come for an upload.
func (s *Server) idle(state *sessionState, now time.Time) time.Duration {
	last := state.Started
	if changed := s.blobs.changed(state.Blob); changed.After(last) {
		last = changed
	}
	return now.Sub(last)
}

func (s *Server) startSession(w http.ResponseWriter, r *http.Request, bucket string, cond *conditions) error {
	o, err := readObject(w, r)
	if err != nil {
		return err
	}
	fromQuery(o, r.URL.Query())
	if o.ContentType == "" {
		o.ContentType = r.Header.Get("X-Upload-Content-Type")
	}
	if err := errors.Join(declare(o, r.Header), checkObject(o)); err != nil {
		return err
	}
	if err := s.bucketExists(bucket); err != nil {
		return err
	}
	rec, err := s.find(bucket, o.Name)
	if err != nil {
		return err
	}
	if err := cond.check(rec); err != nil { // again at the end; here it saves the transfer
		return err
	}
	sess := &session{id: rand.Text(), digest: newDigest()}
	sess.state = sessionState{Bucket: bucket, Object: o, Cond: *cond, Blob: s.nextID(), Started: time.Now()}
	// Not synced: losing power costs the unfinished upload, which the client starts again.
	if err := s.saveSession(sess.id, &sess.state); err != nil {
		return err
	}
	s.mu.Lock()
	s.sessions[sess.id] = sess
	s.mu.Unlock()
	w.Header().Set("Location", fmt.Sprintf("http://%s/upload/storage/v1/b/%s/o?uploadType=resumable&upload_id=%s", r.Host, bucket, sess.id))
	w.Header().Set("X-Guploader-Uploadid", sess.id)
	w.WriteHeader(http.StatusOK)
	return nil
}

// session returns the upload, from the index when this process has not seen it.
func (s *Server) session(id string) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sess := s.sessions[id]; sess != nil {
		return sess, nil
	}
	sess := &session{id: id}
	ok, err := load(s.db, sessionKey(id), &sess.state)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, notFound("No such upload session.")
	}
	if !sess.state.Done {
		s.sessions[id] = sess
	}
	return sess, nil
}

// resume takes a chunk, a status query or a cancellation.
func (s *Server) resume(w http.ResponseWriter, r *http.Request, id string) error {
	sess, err := s.session(id)
	if err != nil {
		return err
	}
	chunk, err := parseChunk(r)
	if err != nil {
		return err
	}
	defer sess.takeOver(w)()
	if r.Method == http.MethodDelete {
		return s.cancelSession(sess)
	}
	if !sess.state.Done {
		if err := s.load(sess); err != nil {
			return err
		}
		if err := s.receive(sess, r, chunk); err != nil {
			return err
		}
	}
	return s.answer(sess, w, r)
}

// takeOver locks the session and returns how to unlock it. A client that sends again has given up on its
// earlier request, which may still wait for bytes from a dead connection: that one is made to stop reading.
func (sess *session) takeOver(w http.ResponseWriter) (leave func()) {
	mine := http.NewResponseController(w)
	sess.reading.Lock()
	if sess.current != nil {
		_ = sess.current.SetReadDeadline(time.Now()) // an error means that its connection is gone
	}
	sess.current = mine
	sess.reading.Unlock()
	sess.mu.Lock()
	return func() {
		sess.mu.Unlock()
		sess.reading.Lock()
		defer sess.reading.Unlock()
		if sess.current == mine { // the connection may serve another request from here on
			sess.current = nil
		}
	}
}

// load reads the bytes that an earlier process received, so that checksums go on from there.
func (s *Server) load(sess *session) error {
	if sess.digest != nil {
		return nil
	}
	d := newDigest()
	f, err := s.blobs.read(sess.state.Blob)
	if err == nil {
		defer func() { _ = f.Close() }() // opened for reading
		_, err = io.Copy(hashOnly{d}, io.NewSectionReader(f, 0, math.MaxInt64))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read back upload: %w", err)
	}
	sess.digest = d
	return nil
}

type hashOnly struct{ *digest }

func (h hashOnly) Write(p []byte) (int, error) { h.add(p); return len(p), nil }

// chunkRange is a Content-Range. Length is -1 for a request without bytes, total is -1 when not yet known.
// Open is for a range whose end is "*": the bytes are all that are left, and how many is told by the body's
// end alone; length is then the most that they can be.
type chunkRange struct {
	start, length, total int64
	open                 bool
}

func parseChunk(r *http.Request) (c chunkRange, err error) {
	header := r.Header.Get("Content-Range")
	if header == "" {
		if r.ContentLength < 0 && r.Method != http.MethodDelete {
			return c, badRequest("Content-Length or Content-Range is needed.")
		}
		return chunkRange{length: r.ContentLength, total: r.ContentLength}, nil
	}
	bad := badRequest("Failed to parse Content-Range header.")
	span, total, ok := strings.Cut(strings.TrimPrefix(header, "bytes "), "/")
	if !ok || !strings.HasPrefix(header, "bytes ") {
		return c, bad
	}
	c = chunkRange{length: -1, total: -1}
	if total != "*" {
		if c.total, err = strconv.ParseInt(total, 10, 64); err != nil || c.total < 0 {
			return c, bad
		}
	}
	if span == "*" {
		return c, nil
	}
	first, last, _ := strings.Cut(span, "-")
	if last == "*" {
		c.open, c.length = true, math.MaxInt64
		if c.start, err = strconv.ParseInt(first, 10, 64); err != nil || c.start < 0 {
			return c, bad
		}
		if c.total >= 0 {
			c.length = c.total - c.start
			if c.length < 0 || r.ContentLength > c.length {
				return c, bad
			}
		}
		return c, nil
	}
	end, err := strconv.ParseInt(last, 10, 64)
	if err != nil {
		return c, bad
	}
	if c.start, err = strconv.ParseInt(first, 10, 64); err != nil || c.start < 0 || end < c.start || end == 1<<63-1 {
		return c, bad
	}
	c.length = end - c.start + 1
	if c.total >= 0 && c.start+c.length > c.total || r.ContentLength >= 0 && r.ContentLength != c.length {
		return c, bad
	}
	return c, nil
}

// chunkUnit is what all chunks but the last end at a multiple of:
// https://cloud.google.com/storage/docs/performing-resumable-uploads#chunked-upload
const chunkUnit = 256 << 10

// aligned refuses a chunk of another size, in production's words. The end is what counts: a chunk may begin
// anywhere in what is there already.
func (c chunkRange) aligned() error {
	if c.open || c.length <= 0 || c.start+c.length == c.total || (c.start+c.length)%chunkUnit == 0 {
		return nil
	}
	return badRequest("Invalid request. The number of bytes uploaded is required to be equal or greater than %d, except for the final request "+
		"(it's recommended to be the exact multiple of %d). The received request contained %d bytes, which does not meet this requirement.", chunkUnit, chunkUnit, c.length)
}

// receive appends the bytes that are new: a chunk that is sent again may overlap what is there, by any number
// of bytes, but never leave a gap. It ends the upload when all bytes have come.
func (s *Server) receive(sess *session, r *http.Request, c chunkRange) error {
	d := sess.digest
	if err := c.aligned(); err != nil && !s.lax {
		return err
	}
	if c.length > 0 {
		if c.start > d.size {
			return &apiError{http.StatusServiceUnavailable, "backendError", fmt.Sprintf("The upload offset is %d byte(s), which exceeds already uploaded size of %d byte(s).", c.start, d.size)}
		}
		body := io.LimitReader(r.Body, c.length)
		known := min(d.size-c.start, c.length) // of open ones, what is there already comes again
		if _, err := io.CopyN(io.Discard, body, known); err != nil {
			return errBrokenBody
		}
		if err := s.blobs.appendTo(sess.state.Blob, d, body); err != nil {
			return err
		}
		switch {
		case c.open && c.total < 0:
			c.total = d.size
		case !c.open && d.size < c.start+c.length:
			return errBrokenBody
		}
	}
	if c.total < 0 || d.size < c.total {
		return nil
	}
	if d.size > c.total {
		return badRequest("The declared size is %d bytes, but %d have been uploaded.", c.total, d.size)
	}
	return s.finish(sess, r.Header)
}

// finish makes the object, or records why it was refused, and forgets the bytes in the second case.
func (s *Server) finish(sess *session, h http.Header) error {
	o := *sess.state.Object // completed by publish; the declared values must stay for another try
	end := sess.state
	end.Object, end.Done = &o, true
	err := declare(&o, h)
	if err == nil {
		err = s.publish(end.Bucket, &end.Cond, &o, end.Blob, sess.digest, func(b *pebble.Batch) error { return store(b, sessionKey(sess.id), &end) })
	}
	var refused *apiError
	switch {
	case err == nil:
		if sess.digest.size == 0 {
			s.dropFile(end.Blob)
		}
	case errors.As(err, &refused) && refused.Status < 500:
		end.Refused = refused
		if err := s.saveSession(sess.id, &end); err != nil {
			return err
		}
		s.dropFile(end.Blob)
	default:
		return err
	}
	sess.state = end
	s.forget(sess.id)
	return nil
}

// saveSession writes the state without syncing: losing it costs an answer that may be asked for again.
func (s *Server) saveSession(id string, state *sessionState) error {
	return s.save("upload session", sessionKey(id), state, pebble.NoSync)
}

// forget drops the session from memory; the index still has it.
func (s *Server) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, id)
}

// dropFile removes the file of an upload that ended without using it. There may be none, before the first
// byte. A file that cannot be removed only takes space until the next start.
func (s *Server) dropFile(id int64) {
	if err := s.blobs.remove(id); err != nil {
		s.log.Warn("remove upload file", zap.Error(err))
	}
}

// dropSessions ends the uploads that match, and takes their answers back.
func (s *Server) dropSessions(match func(*sessionState) bool) error {
	return scan(s.db, []byte("s"), []byte("t"), func(key, value []byte) error {
		var state sessionState
		if err := decode(value, &state); err != nil {
			return err
		}
		if !match(&state) {
			return nil
		}
		if !state.Done {
			s.dropFile(state.Blob)
		}
		s.forget(string(key[1:]))
		return s.db.Delete(slices.Clone(key), pebble.NoSync)
	})
}

func (s *Server) cancelSession(sess *session) error {
	if sess.state.Done {
		return notFound("No such upload session.")
	}
	sess.state.Done, sess.state.Refused = true, &apiError{499, "clientClosedRequest", "The upload was cancelled."}
	if err := s.db.Delete(sessionKey(sess.id), pebble.NoSync); err != nil {
		return storageError("delete upload session", err)
	}
	s.dropFile(sess.state.Blob)
	s.forget(sess.id)
	return sess.state.Refused
}

// answer gives the object, the refusal, or how far the upload is. The Go client cannot read a 308 (Go takes
// it for a redirect) and says so in a header.
func (s *Server) answer(sess *session, w http.ResponseWriter, r *http.Request) error {
	if sess.state.Refused != nil {
		return sess.state.Refused
	}
	if sess.state.Done {
		return s.reply(w, r, shown(sess.state.Object))
	}
	if sess.digest.size > 0 {
		w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", sess.digest.size-1))
	}
	if r.Header.Get("X-Guploader-No-308") == "yes" {
		w.Header().Set("X-Http-Status-Code-Override", "308")
		w.WriteHeader(http.StatusOK)
		return nil
	}
	w.WriteHeader(http.StatusPermanentRedirect)
	return nil
}
