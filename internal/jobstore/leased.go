package jobstore

import (
	"sync"
	"time"

	"exportd/jobs"
)

// leasedJobs are jobs that this process holds the lease of, as it last committed them. The next transition of
// one is tried on it without a read, and counts if the commit confirms that nobody has changed the job since.
type leasedJobs struct {
	mu   sync.Mutex
	jobs map[string]leasedJob
}

type leasedJob struct {
	job     jobs.Job
	updated time.Time  // of the document
	place   *placeDocs // that the job has, if it is known
}

// maxLeased is how many jobs a worker may have slots for. Beyond it, one is read again.
const maxLeased = 64

// take gives a job and forgets it: whoever commits the next transition notes it anew.
func (k *leasedJobs) take(id string) (leasedJob, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	j, ok := k.jobs[id]
	delete(k.jobs, id)
	return j, ok
}

func (k *leasedJobs) note(id string, j leasedJob) {
	if j.job.Lease.Token == "" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for other := range k.jobs {
		if len(k.jobs) < maxLeased {
			break
		}
		delete(k.jobs, other)
	}
	k.jobs[id] = j
}
