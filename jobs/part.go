package jobs

import (
	"strconv"
	"time"
)

// PartState is where a part stands.
type PartState string

// A part waits, is held by one worker, or is done for good.
const (
	PartPending PartState = "pending"
	PartRunning PartState = "running"
	PartDone    PartState = "done"
)

// Part is a stretch of a job's rows that one worker writes to one object. Laid end to end, the objects of a
// plan's parts are the file.
type Part struct {
	ID        string `firestore:"-"`
	Damage    string `firestore:"-"`      // as Job.Damage
	Schema    int    `firestore:"schema"` // as Job.Schema
	JobID     string `firestore:"jobId"`
	OrgID     string `firestore:"orgId"`
	PlanEpoch int64  `firestore:"planEpoch"`
	Index     int    `firestore:"index"`
	// From and To bound the half-open range in the query's order, as vip.Position encodes them; empty is the
	// query's own end.
	From string `firestore:"from"`
	To   string `firestore:"to"`
	Rows int64  `firestore:"rows"` // counted at the snapshot

	State PartState `firestore:"state"`
	Epoch int64     `firestore:"epoch"`
	// JobEpoch is the job's epoch at the part's last claim. In another one, the job was run again since: its
	// holder, attempts and pause are of the earlier run and no longer count.
	JobEpoch int64 `firestore:"jobEpoch"`
	Lease    Lease `firestore:"lease"`
	// WakeAt is when somebody must look at the part; zero while it waits for its turn in the window and once
	// it is done.
	WakeAt        time.Time `firestore:"wakeAt,omitempty"`
	Shard         int       `firestore:"shard"` // as PartShard
	NotBefore     time.Time `firestore:"notBefore,omitempty"`
	Attempt       int       `firestore:"attempt"`
	Interruptions int       `firestore:"interruptions"`
	LastError     *JobError `firestore:"lastError"`

	// Begun: claimed at least once and not done, so that RowsDone counts. It is what progress is asked by: an
	// index of RowsDone would be written at each renewal.
	Begun bool `firestore:"begun,omitempty"`
	// RowsDone and BytesDone are the most ever reported from under way, by whatever holder; 0 again once the
	// part is done and Rows and Size count.
	RowsDone  int64  `firestore:"rowsDone,omitempty"`
	BytesDone int64  `firestore:"bytesDone,omitempty"`
	Object    string `firestore:"object,omitempty"`
	Size      int64  `firestore:"size"`
	CRC32C    uint32 `firestore:"crc32c"`
	Guarded   int64  `firestore:"guarded"`
	// GuardedBy is Guarded by columns; nil where there are none, or a build wrote the part that does not know
	// it.
	GuardedBy *GuardedBy `firestore:"guardedBy,omitempty"`
	Rescued   int64      `firestore:"rescued,omitempty"`
	// Digest is as that of Result.
	Digest *Digest `firestore:"digest,omitempty"`
	// Plain is what the part's rows are before they are deflated; nil but where Job.SheetRows has them so.
	Plain *Plain `firestore:"plain,omitempty"`

	// Spent and SpentNow are as those of Job, of the attempts at the part since JobEpoch. SpentCounted: the
	// job's has them.
	Spent        Spent `firestore:"spent,omitempty" json:"-"`
	SpentNow     Spent `firestore:"under,omitempty" json:"-"`
	SpentCounted bool  `firestore:"told,omitempty" json:"-"`

	Rev string `firestore:"rev"` // as Job.Rev
	// LapsesAt is when the database may delete the document by itself: it is as gone from then on.
	LapsesAt time.Time `firestore:"exportLapsesAt,omitempty"`
}

// Plain is what deflated bytes were before: what a zip has to say of them.
type Plain struct {
	Size  int64  `firestore:"size"`
	CRC32 uint32 `firestore:"crc32"` // IEEE
}

// ObjectName is the create-only object that the holder of lease token writes the part to: another claim has
// another name, so no two workers ever write the same object.
func (p *Part) ObjectName(j *Job, token string) string {
	return j.ObjectPrefix() + strconv.FormatInt(p.PlanEpoch, 10) + "/part-" + PartID(p.PlanEpoch, p.Index) + "-" + token + j.extension()
}

// ResultName is the create-only object that the holder of the job's lease writes or composes the whole file
// to.
func (j *Job) ResultName() string {
	return j.ObjectPrefix() + strconv.FormatInt(j.Epoch, 10) + "/" + string(j.Kind) + "-" + j.Lease.Token + j.extension()
}

// PartID is the document id of part index of the plan made at epoch. Zero-padded, so that ids sort as the
// parts do: 100,000 parts of 50,000 rows are 5e9 rows.
func PartID(planEpoch int64, index int) string {
	i := strconv.Itoa(index)
	for len(i) < 5 {
		i = "0" + i
	}
	return strconv.FormatInt(planEpoch, 10) + "-" + i
}
