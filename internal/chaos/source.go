package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/demo"
)

// changeSource writes, changes and deletes messages of the exported window and users all the while, so that a
// job that reads at more than one time would show. Returns the number of writes.
func (in *inspector) changeSource(ctx context.Context, rng *rand.Rand, facts demo.Summary) int {
	from, _ := time.Parse(time.DateOnly, facts.From)
	messages, users := in.firestore.Collection("VipMessages"), in.firestore.Collection("VipUsers")
	n := 0
	for pause(ctx, 100*time.Millisecond) {
		ref, fields := messages.Doc(fmt.Sprintf("chaos-%03d", rng.IntN(300))), map[string]any{
			"kind": "text", "source": "user", "text": fmt.Sprintf("change %d", n), "labels": []string{"ai_chaos"},
			"timestamp": from.Add(time.Duration(rng.Int64N(int64(31 * 24 * time.Hour)))),
		}
		if rng.IntN(4) == 0 {
			ref, fields = users.Doc(fmt.Sprintf("chaos-%03d", rng.IntN(100))), map[string]any{"ltv": float64(rng.IntN(4000)) / 4, "tier": fmt.Sprintf("tier %d", n), "hasBirthday": true}
		}
		var err error
		if rng.IntN(3) == 0 {
			_, err = ref.Delete(ctx)
		} else {
			fields["workspaceId"], fields["mediumId"], fields["playerId"], fields["displayName"] = facts.WorkspaceID, facts.MediumID, "chaos", "Chaos"
			_, err = ref.Set(ctx, fields, firestore.MergeAll)
		}
		if err == nil {
			n++ // what failed is not of interest: the script makes writes fail
		}
	}
	return n
}
