package main

import (
	"context"
	"fmt"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"exportd/internal/dataset"
	"exportd/internal/vip"
)

const (
	commitWrites    = 500 // the most that Firestore's own clients send
	commitsInFlight = 4
)

// load commits the messages that are missing of the first rows, and says how many it wrote.
func (b *bed) load(ctx context.Context, rows int) (int, error) {
	have, _, err := b.reader.Count(ctx, dataset.VIPMessages.Query(orgID, window(rows)), vip.Range{}, time.Time{})
	if err != nil {
		return 0, fmt.Errorf("count messages: %w", err)
	}
	if int(have) == rows {
		return 0, nil
	}
	database := b.database()
	return rows, commit(ctx, b.cfg.FirestoreHost, database, rows, commitWrites, func(i int) *firestorepb.Document { return document(database, i) })
}

// database is the resource name of the bed's database.
func (b *bed) database() string {
	return "projects/" + b.cfg.ProjectID + "/databases/" + b.cfg.DatabaseID
}

// commit writes the documents 0 to n-1, so many in a commit.
func commit(ctx context.Context, host, database string, n, writes int, document func(i int) *firestorepb.Document) error {
	conn, err := grpc.NewClient("passthrough:///"+host, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("dial Firestore: %w", err)
	}
	defer conn.Close()
	client := firestorepb.NewFirestoreClient(conn)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(commitsInFlight)
	for from := 0; from < n && gctx.Err() == nil; from += writes {
		g.Go(func() error {
			req := &firestorepb.CommitRequest{Database: database}
			for i := from; i < min(n, from+writes); i++ {
				req.Writes = append(req.Writes, &firestorepb.Write{Operation: &firestorepb.Write_Update{Update: document(i)}})
			}
			if _, err := client.Commit(gctx, req); err != nil {
				return fmt.Errorf("commit documents: %w", err)
			}
			return nil
		})
	}
	return g.Wait()
}
