package api

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"exportd/internal/apikey"
	"exportd/jobs"
)

// A reader of 100 bytes a second is cut when its time is over: an answer that is larger than that after the
// longest a request may take and the time to send it, an event stream as soon as one event takes longer than
// that to send.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	waiting := succeeded()
	waiting.State = jobs.Queued
	for _, slowOne := range []struct {
		name, target string
		pause        time.Duration // between 100 bytes
		within       time.Duration
	}{
		{"answer", "/openapi.json", time.Second, slow + sendWithin},
		{"stream", "/exports/" + waiting.ID + "/events", 4 * time.Second, sendWithin},
	} {
		t.Run(slowOne.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, d := bounded(t)
				b.jobs.set(waiting)
				const conns = 200
				ended := make(chan time.Duration, conns)
				begun := time.Now()
				for range conns {
					c := d.dial("192.0.2.1")
					go func() {
						defer c.Close()
						r := request(t, "key_one1", http.MethodGet, slowOne.target)
						date := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
						r.Header.Set("x-date", date)
						r.Header.Set("x-signature", apikey.Sign(testSecret, date))
						err := r.Write(c)
						for err == nil {
							_, err = io.ReadFull(c, make([]byte, 100))
							time.Sleep(slowOne.pause)
						}
						ended <- time.Since(begun)
					}()
				}
				least := time.Hour
				for range conns {
					d := <-ended
					least = min(least, d)
					if d > slowOne.within+2*slowOne.pause {
						t.Errorf("cut after %s, want %s", d, slowOne.within)
					}
				}
				if least < slowOne.within-slowOne.pause {
					t.Errorf("cut after %s already, want %s", least, slowOne.within)
				}
				synctest.Wait()
				if got := b.connected.taken(); got != 0 {
					t.Errorf("%d of %d are left", got, conns)
				}
			})
		})
	}
}
