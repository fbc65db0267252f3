package pubsubserver

import "strings"

// Reset deletes the topics, subscriptions and snapshots of a project, "" for all projects, and says how many.
// Streams on them end with NOT_FOUND, as after any deletion.
func (s *Server) Reset(project string) (topics, subscriptions int, err error) {
	mine := func(name string) bool { return project == "" || strings.HasPrefix(name, "projects/"+project+"/") }
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.subs {
		if !mine(name) {
			continue
		}
		if err := s.deleteSubscription(name); err != nil {
			return topics, subscriptions, err
		}
		subscriptions++
	}
	for name := range s.snaps {
		if !mine(name) {
			continue
		}
		if err := s.dropSnapshot(name); err != nil {
			return topics, subscriptions, err
		}
	}
	for name := range s.topics {
		if !mine(name) {
			continue
		}
		if err := s.deleteTopic(name); err != nil {
			return topics, subscriptions, err
		}
		topics++
	}
	return topics, subscriptions, nil
}
