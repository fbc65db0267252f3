// Package filelink makes and reads the links to files that the service itself answers, at /files/TOKEN.
//
// A token is sealed and stored nowhere: handing one out writes nothing and reads one document, where a signed
// URL costs a call to IAM. It says which job's file it leads to, for whom it was made and until when. What
// takes links back is on record, and read when one is followed: the job has the generation of its links and
// the ids of single ones, the org the generation of all of its. Seals are of the keyset that API keys are
// sealed by, whose AES-GCM bears 2^32 of them: 13 years at 10 links a second.
package filelink

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"

	"exportd/jobs"
)

// Path is where links are, before the token.
const Path = "/files/"

const (
	// Seen is how long the generation of an org's links is believed: for as long a link that was revoked with
	// all of its org's may still lead to the file, in another process.
	Seen = 2 * time.Second
	// maxOrgs bounds the orgs whose generation is remembered, to a megabyte or two.
	maxOrgs = 10_000
	// maxToken is above what any token has: 350 bytes with the longest ids.
	maxToken = 1024
	// purpose is what tokens are sealed for.
	purpose = "link to a file"
)

// ErrNone is for what is no link that this service has made.
var ErrNone = errors.New("not a link to a file")

// Sealer seals tokens. internal/apikey has it.
type Sealer interface {
	SealText(purpose string, text []byte) ([]byte, error)
	OpenText(purpose string, sealed []byte) ([]byte, error)
}

// Generations knows which of an org's links are good. internal/jobstore has it.
type Generations interface {
	LinkGeneration(ctx context.Context, orgID string) (int64, error)
}

// Asker is whom a link is made for: a key, whose callback it goes with or not, or a person.
type Asker struct {
	KeyID    string `json:"key,omitempty"`
	Person   string `json:"person,omitempty"`
	Callback bool   `json:"callback,omitempty"`
}

// String is how records name who it is, as events do.
func (a Asker) String() string {
	switch {
	case a.Person != "":
		return a.Person
	case a.Callback:
		return "callback of api key " + a.KeyID
	}
	return "api key " + a.KeyID
}

// Link is what a token says.
type Link struct {
	ID    string `json:"id"`
	JobID string `json:"job"`
	// File stands for the object, which another run of the job replaces.
	File string `json:"file"`
	// OfJob and OfOrg are the generations that the link is of.
	OfJob   int64 `json:"ofJob,omitempty"`
	OfOrg   int64 `json:"ofOrg,omitempty"`
	Asker   Asker `json:"asker"`
	Expires int64 `json:"expires"` // Unix seconds
}

// LeadsTo reports whether a job still has the file of the link, and the link was not revoked for itself or
// with all of the job's.
func (l *Link) LeadsTo(j *jobs.Job) bool {
	return l.File == fileOf(j.Result.Object) && j.LinkVoid(l.ID, j.Result.Object, l.OfJob) == ""
}

func fileOf(object string) string {
	sum := sha256.Sum256([]byte(object))
	return hex.EncodeToString(sum[:8])
}

// Config is what Links need.
type Config struct {
	// Base is where callers reach the API, as https://exports.example.com.
	Base   string
	Sealer Sealer
	Store  Generations
	// Now is time.Now if nil.
	Now func() time.Time
}

// Links makes and reads links. Safe for concurrent use.
type Links struct {
	Config
	known *otter.Cache[string, generation]
	reads singleflight.Group
}

type generation struct {
	n  int64
	at time.Time
}

// New makes a Links.
func New(c Config) (*Links, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	known, err := otter.New(&otter.Options[string, generation]{MaximumSize: maxOrgs}) // without expiry it has no goroutine
	if err != nil {
		return nil, fmt.Errorf("make cache of link generations: %w", err)
	}
	return &Links{Config: c, known: known}, nil
}

// URL makes a link to the file of a succeeded job, which works until the file's time is over.
func (l *Links) URL(ctx context.Context, j *jobs.Job, asker Asker) (url string, until time.Time, err error) {
	// As it is now: a link of an earlier generation would be revoked already, and a callback has no other.
	ofOrg, err := l.read(ctx, j.OrgID, 0)
	if err != nil {
		return "", until, err
	}
	until = j.FileExpiresAt.UTC().Truncate(time.Second)
	text, err := json.Marshal(Link{
		ID: jobs.NewID(), JobID: j.ID, File: fileOf(j.Result.Object), OfJob: j.LinksRevoked, OfOrg: ofOrg, Asker: asker, Expires: until.Unix(),
	})
	if err != nil {
		return "", until, fmt.Errorf("make a link of job %s: %w", j.ID, err)
	}
	sealed, err := l.Sealer.SealText(purpose, text)
	if err != nil {
		return "", until, err
	}
	return l.Base + Path + base64.RawURLEncoding.EncodeToString(sealed), until, nil
}

// Open reads a token; ErrNone for one that was not made here, whatever is wrong with it.
func (l *Links) Open(token string) (*Link, error) {
	if len(token) > maxToken {
		return nil, ErrNone
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return nil, ErrNone
	}
	text, err := l.Sealer.OpenText(purpose, sealed)
	if errors.Is(err, jobs.ErrUnavailable) {
		return nil, err
	}
	var link Link
	if err != nil || json.Unmarshal(text, &link) != nil || !jobs.ValidID(link.JobID) || !jobs.ValidLink(link.ID) {
		return nil, ErrNone
	}
	return &link, nil
}

// Good reports whether a link works by its own time and by what its org has revoked; whether the job has its
// file, LeadsTo says.
func (l *Links) Good(ctx context.Context, link *Link, orgID string) (bool, error) {
	if l.Now().Unix() >= link.Expires {
		return false, nil
	}
	n, err := l.generation(ctx, orgID)
	if err == nil && n < link.OfOrg { // made after what is remembered was revoked
		n, err = l.read(ctx, orgID, 0)
	}
	return err == nil && n == link.OfOrg, err
}

// generation is that of an org's links, at most Seen ago.
func (l *Links) generation(ctx context.Context, orgID string) (int64, error) {
	if g, ok := l.known.GetIfPresent(orgID); ok && l.Now().Sub(g.at) < Seen {
		return g.n, nil
	}
	return l.read(ctx, orgID, Seen)
}

// read reads an org's generation, or waits for a read that began at most age ago.
func (l *Links) read(ctx context.Context, orgID string, age time.Duration) (int64, error) {
	since := l.Now().Add(-age)
	for {
		mine := false
		read, err, _ := l.reads.Do(orgID, func() (any, error) {
			mine = true
			// Not the caller's context alone: others wait for the same read.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readWithin)
			defer cancel()
			at := l.Now() // before: it is not younger than this
			n, err := l.Store.LinkGeneration(ctx, orgID)
			if err == nil {
				l.known.Set(orgID, generation{n, at})
			}
			return generation{n, at}, err
		})
		if g, ok := read.(generation); mine || ok && !g.at.Before(since) {
			return g.n, err
		}
	}
}

// readWithin bounds the read of a generation.
const readWithin = 5 * time.Second

// Forget has an org's generation read anew, once all of its links were revoked here.
func (l *Links) Forget(orgID string) { l.known.Invalidate(orgID) }
