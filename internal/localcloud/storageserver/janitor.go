package storageserver

import (
	"time"

	"go.uber.org/zap"
	"google.golang.org/api/storage/v1"
)

// janitorEvery is how often old uploads and objects past their bucket's lifecycle rules are removed. Cloud
// Storage takes up to a day.
const janitorEvery = time.Hour

func (s *Server) runJanitor() {
	tick := time.NewTicker(janitorEvery)
	defer tick.Stop()
	for {
		if err := s.tidy(time.Now()); err != nil {
			s.log.Error("remove expired objects", zap.Error(err))
		}
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
	}
}

// tidy removes what has expired at now.
func (s *Server) tidy(now time.Time) error {
	if err := s.dropSessions(func(u *sessionState) bool { return s.idle(u, now) >= sessionLife }); err != nil {
		return err
	}
	if err := s.abandon(now); err != nil {
		return err
	}
	return scan(s.db, []byte("b"), []byte("c"), func(_, value []byte) error {
		var b storage.Bucket
		if err := decode(value, &b); err != nil {
			return err
		}
		for _, c := range conditionsOf(&b, "Delete") {
			if err := s.expire(b.Name, c, now); err != nil {
				return err
			}
		}
		return nil
	})
}
