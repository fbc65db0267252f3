package api

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/maypok86/otter/v2"
	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"exportd/jobs"
)

const (
	// fileWithin bounds a look for a file: a poll must not hang because Storage does.
	fileWithin = 2 * time.Second
	// fileSeen is how long a file that was there counts as there: polls and waiters of one job cost one look,
	// and a link, which lives for an hour, may lose its file in that time anyway.
	fileSeen = 5 * time.Second
	// fileDoubt is how long nobody looks again after a look without an answer.
	fileDoubt = 5 * time.Second
	// maxFiles bounds what is remembered to a few megabytes; what is forgotten is looked for again.
	maxFiles = 20_000
)

// files remembers until when files count as there.
type files struct {
	until *otter.Cache[string, time.Time]
	looks singleflight.Group // waiters of one job end together
}

func newFiles() (*files, error) {
	until, err := otter.New(&otter.Options[string, time.Time]{MaximumSize: maxFiles})
	return &files{until: until}, err
}

// proven is the job, expired if storage has lost its file, or its file's time is over. Without an answer of
// storage the file counts as there, and its link is handed out: an outage loses no file, and the link works
// once it is over.
func (s *Server) proven(ctx context.Context, j *jobs.Job) *jobs.Job {
	if j.State != jobs.Succeeded || j.Foreign() && j.Result.Object == "" {
		return j
	}
	if j.FileExpiresAt.Sub(s.now()) < shortestLink {
		return j.OutOfTime() // nobody has noted it yet
	}
	key := j.Result.Object + "#" + strconv.FormatInt(j.Result.Generation, 10)
	if until, ok := s.files.until.GetIfPresent(key); ok && s.now().Before(until) {
		return j
	}
	found, _, _ := s.files.looks.Do(key, func() (any, error) {
		// Not the caller's context alone: others wait for the same look.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fileWithin)
		defer cancel()
		there, err := s.objects.Holds(ctx, j.Result.Object, j.Result.Size, j.Result.CRC32C)
		switch {
		case errors.Is(err, jobs.ErrNoBucket):
			return j.WithoutFile(), nil // it may be the bucket's name that is wrong: not noted
		case err != nil:
			s.log.Warn("cannot tell whether a file is there; its link is handed out", zap.String("job_id", j.ID), zap.Error(err))
			s.files.until.Set(key, s.now().Add(fileDoubt))
			return j, nil
		case there:
			s.files.until.Set(key, s.now().Add(fileSeen))
			return j, nil
		}
		return s.noteLost(ctx, j), nil
	})
	if k, ok := found.(*jobs.Job); ok && k.ID == j.ID && k.Epoch >= j.Epoch {
		return k
	}
	return j
}

// noteLost has the job say that its file is lost. What was noted meanwhile wins.
func (s *Server) noteLost(ctx context.Context, j *jobs.Job) *jobs.Job {
	var was jobs.Job
	noted, err := s.jobs.Update(ctx, j.ID, "api", func(tx *jobs.Tx) error {
		was = *tx.Job
		return tx.LoseFile(j.Result.Object)
	})
	if errors.Is(err, jobs.ErrNotDue) {
		return &was
	}
	if err != nil {
		s.log.Warn("cannot note that a file is lost", zap.String("job_id", j.ID), zap.Error(err))
		return j.WithoutFile()
	}
	return noted
}
