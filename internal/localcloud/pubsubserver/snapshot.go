package pubsubserver

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// A snapshot holds what was not acknowledged in a subscription when it was made, and what has been published
// to the topic since, as copies on disk: https://cloud.google.com/pubsub/docs/replay-overview
type snapshot struct {
	uid    uint64
	config *pubsubpb.Snapshot // replaced, never changed
}

const (
	// snapshotLife is how long one lives, less the age of the oldest message in it, and minSnapshotLife what
	// must be left of it to be made. maxSnapshots is the most of a project.
	snapshotLife    = 7 * 24 * time.Hour
	minSnapshotLife = time.Hour
	maxSnapshots    = 5000
)

func (u *subscriber) CreateSnapshot(_ context.Context, req *pubsubpb.CreateSnapshotRequest) (*pubsubpb.Snapshot, error) {
	s, name := u.s, req.GetName()
	project, _, _ := strings.Cut(req.GetSubscription(), "/subscriptions/")
	if name == "" {
		name = project + "/snapshots/s" + strings.ToLower(rand.Text())
	}
	if err := checkName(snapshotName, name); err != nil {
		return nil, err
	}
	// No message may be on its way to the subscription and be seen by neither.
	s.publishing.Lock()
	defer s.publishing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.subs[req.GetSubscription()]
	switch {
	case s.closed:
		return nil, errClosing
	case b == nil:
		return nil, notFound(req.GetSubscription())
	case b.subscription().GetDetached():
		return nil, errDetached
	case s.snaps[name] != nil:
		return nil, status.Errorf(codes.AlreadyExists, "snapshot exists: %s", name)
	case len(s.snapshotsOf(project+"/")) >= maxSnapshots:
		return nil, status.Errorf(codes.ResourceExhausted, "%s has %d snapshots: delete some", project, maxSnapshots)
	}
	snap := &snapshot{uid: s.seq.Add(1), config: &pubsubpb.Snapshot{Name: name, Topic: b.subscription().GetTopic(), Labels: req.GetLabels()}}
	if err := b.copyTo(snap, time.Now()); err != nil {
		return nil, err
	}
	s.snaps[name] = snap
	return snap.config, nil
}

// copyTo writes a snapshot with what is not acknowledged.
func (b *backlog) copyTo(snap *snapshot, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	oldest, c := now, b.store.newChange()
	for _, e := range b.all {
		if e.published.Before(oldest) {
			oldest = e.published
		}
		c.set(snapshotPrefix, snap.uid, e.seq, 0, e.msg)
	}
	if now.Sub(oldest) > snapshotLife-minSnapshotLife {
		_ = c.batch.Close()
		return status.Errorf(codes.FailedPrecondition, "the oldest message that is not acknowledged is of %s: a snapshot would live for less than an hour", oldest.UTC().Format(time.RFC3339))
	}
	snap.config.ExpireTime = timestamppb.New(oldest.Add(snapshotLife))
	c.putSnapshot(snap)
	if err := c.commit(); err != nil {
		return status.Errorf(codes.Internal, "create snapshot: %v", err)
	}
	return nil
}

// snapshotsOf are those whose names begin so, without those that have expired. It needs s.mu.
func (s *Server) snapshotsOf(prefix string) (names []string) {
	now := time.Now()
	for name, snap := range s.snaps {
		if strings.HasPrefix(name, prefix) && snap.config.GetExpireTime().AsTime().After(now) {
			names = append(names, name)
		}
	}
	return names
}

// snapshot finds one that has not expired. It needs s.mu.
func (s *Server) snapshot(name string) (*snapshot, error) {
	snap := s.snaps[name]
	switch {
	case s.closed:
		return nil, errClosing
	case snap == nil || !snap.config.GetExpireTime().AsTime().After(time.Now()):
		return nil, notFound(name)
	}
	return snap, nil
}

func (u *subscriber) GetSnapshot(_ context.Context, req *pubsubpb.GetSnapshotRequest) (*pubsubpb.Snapshot, error) {
	u.s.mu.RLock()
	defer u.s.mu.RUnlock()
	snap, err := u.s.snapshot(req.GetSnapshot())
	if err != nil {
		return nil, err
	}
	return snap.config, nil
}

func (u *subscriber) ListSnapshots(_ context.Context, req *pubsubpb.ListSnapshotsRequest) (*pubsubpb.ListSnapshotsResponse, error) {
	if err := checkName(projectName, req.GetProject()); err != nil {
		return nil, err
	}
	u.s.mu.RLock()
	defer u.s.mu.RUnlock()
	names, next, err := page(slices.Values(u.s.snapshotsOf(req.GetProject()+"/")), "", req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &pubsubpb.ListSnapshotsResponse{NextPageToken: next}
	for _, name := range names {
		resp.Snapshots = append(resp.Snapshots, u.s.snaps[name].config)
	}
	return resp, nil
}

// ListTopicSnapshots lists the names of a topic's.
func (p *publisher) ListTopicSnapshots(_ context.Context, req *pubsubpb.ListTopicSnapshotsRequest) (*pubsubpb.ListTopicSnapshotsResponse, error) {
	p.s.mu.RLock()
	defer p.s.mu.RUnlock()
	if p.s.topics[req.GetTopic()] == nil {
		return nil, notFound(req.GetTopic())
	}
	of := slices.DeleteFunc(p.s.snapshotsOf(""), func(name string) bool { return p.s.snaps[name].config.GetTopic() != req.GetTopic() })
	names, next, err := page(slices.Values(of), "", req.GetPageSize(), req.GetPageToken())
	return &pubsubpb.ListTopicSnapshotsResponse{Snapshots: names, NextPageToken: next}, err
}

// UpdateSnapshot changes labels and when it expires, which may be earlier than it would.
func (u *subscriber) UpdateSnapshot(_ context.Context, req *pubsubpb.UpdateSnapshotRequest) (*pubsubpb.Snapshot, error) {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	in, paths := req.GetSnapshot(), req.GetUpdateMask().GetPaths()
	if in == nil || len(paths) == 0 {
		return nil, invalid("an update needs a snapshot and a mask")
	}
	snap, err := u.s.snapshot(in.GetName())
	if err != nil {
		return nil, err
	}
	changed := proto.CloneOf(snap.config)
	for _, path := range paths {
		switch path {
		case "labels":
			changed.Labels = in.GetLabels()
		case "expire_time":
			if at := in.GetExpireTime(); at.CheckValid() != nil || at.AsTime().After(time.Now().Add(snapshotLife)) {
				return nil, invalid("a snapshot expires within 7 days")
			}
			changed.ExpireTime = in.GetExpireTime()
		default:
			return nil, invalid("the field %q cannot be updated", path)
		}
	}
	c := u.s.store.newChange()
	c.putSnapshot(&snapshot{snap.uid, changed})
	if err := c.commit(); err != nil {
		return nil, status.Errorf(codes.Internal, "update snapshot: %v", err)
	}
	snap.config = changed
	return changed, nil
}

func (u *subscriber) DeleteSnapshot(_ context.Context, req *pubsubpb.DeleteSnapshotRequest) (*emptypb.Empty, error) {
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	if _, err := u.s.snapshot(req.GetSnapshot()); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, u.s.dropSnapshot(req.GetSnapshot())
}

// dropSnapshot needs s.mu.
func (s *Server) dropSnapshot(name string) error {
	if err := s.store.deleteSnapshot(s.snaps[name].uid, name); err != nil {
		return status.Errorf(codes.Internal, "delete snapshot: %v", err)
	}
	delete(s.snaps, name)
	return nil
}

// snapshotsFor are those that a message published to the topic goes to. Those that have expired are dropped
// here: nobody can ask for them, and they must not grow.
func (s *Server) snapshotsFor(topic string) (out []*snapshot) {
	now := time.Now()
	var expired []string
	s.mu.RLock()
	for name, snap := range s.snaps {
		switch {
		case !snap.config.GetExpireTime().AsTime().After(now):
			expired = append(expired, name)
		case snap.config.GetTopic() == topic:
			out = append(out, snap)
		}
	}
	s.mu.RUnlock()
	if len(expired) == 0 {
		return out
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range expired {
		if snap := s.snaps[name]; snap != nil && !snap.config.GetExpireTime().AsTime().After(now) {
			_ = s.dropSnapshot(name) // the next message tries again
		}
	}
	return out
}

// seekTo makes what a snapshot holds, and nothing else, what is not acknowledged.
func (b *backlog) seekTo(snap *snapshot) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	held := map[uint64]*entry{}
	err := b.store.messages(snapshotPrefix, snap.uid, func(e *entry) {
		if b.filter.match(e.msg.GetAttributes()) {
			held[e.seq] = e
		}
	})
	if err != nil {
		return status.Errorf(codes.Internal, "seek: %v", err)
	}
	return b.replace(held, func(e *entry) bool { return held[e.seq] != nil })
}

// seekBack makes what was published from t on what is not acknowledged, as far as it is kept.
func (b *backlog) seekBack(t time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, again := time.Now(), map[uint64]*entry{}
	err := b.store.messages(retainedPrefix, b.uid, func(e *entry) {
		if !e.published.Before(t) && !b.expired(e, now) {
			again[e.seq] = e
		}
	})
	if err != nil {
		return status.Errorf(codes.Internal, "seek: %v", err)
	}
	return b.replace(again, func(e *entry) bool { return !e.published.Before(t) })
}

// replace acknowledges what is not to stay, and adds what comes again. It needs b.mu.
func (b *backlog) replace(again map[uint64]*entry, stays func(*entry) bool) error {
	c := b.store.newChange()
	var gone []*entry
	for _, e := range b.all {
		if e.leased || e.held || e.index >= 0 { // another one is on its way off the disk or to the dead-letter topic, and has left already
			if !stays(e) {
				gone = append(gone, e)
				b.settle(c, e)
			}
		}
	}
	var back []*entry
	for _, seq := range slices.Sorted(maps.Keys(again)) {
		if b.all[seq] == nil {
			e := again[seq]
			e.attempts = 0
			back = append(back, e)
			c.put(b.uid, e)
			c.drop(retainedPrefix, b.uid, seq)
		}
	}
	if n := len(b.all) - len(gone) + len(back); n > b.limits.Messages {
		_ = c.batch.Close()
		return status.Errorf(codes.ResourceExhausted, "%s would hold %d messages, and may %d", b.sub.GetName(), n, b.limits.Messages)
	}
	if err := c.commit(); err != nil {
		return status.Errorf(codes.Internal, "seek: %v", err)
	}
	for _, e := range gone {
		b.take(e)
	}
	b.admit(back, time.Now())
	return nil
}
