package pubsubserver

import (
	"slices"
	"strings"
	"time"
)

// Backlog says what a subscription holds.
type Backlog struct {
	Subscription, Topic string
	PushedTo            string // "" where messages are pulled
	// Waiting may be delivered; Leased are with a subscriber.
	Waiting, Leased int
	// Oldest is when the oldest of them was published; the zero time if there is none.
	Oldest time.Time
}

// Backlogs lists the subscriptions with what they hold, by name, and the topics.
func (s *Server) Backlogs() (topics []string, subscriptions []Backlog) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for name := range s.topics {
		topics = append(topics, name)
	}
	for _, b := range s.subs {
		subscriptions = append(subscriptions, b.overview())
	}
	slices.Sort(topics)
	slices.SortFunc(subscriptions, func(a, b Backlog) int { return strings.Compare(a.Subscription, b.Subscription) })
	return topics, subscriptions
}

func (b *backlog) overview() Backlog {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := Backlog{Subscription: b.sub.GetName(), Topic: b.sub.GetTopic(), PushedTo: b.endpoint}
	for _, e := range b.all {
		if e.leased {
			out.Leased++
		} else {
			out.Waiting++
		}
		if out.Oldest.IsZero() || e.published.Before(out.Oldest) {
			out.Oldest = e.published
		}
	}
	return out
}
