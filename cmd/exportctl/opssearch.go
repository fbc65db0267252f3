package main

import "github.com/spf13/cobra"

// searchFlags are what jobs are searched by that no index leads to.
type searchFlags struct {
	request, batch, host, text, label, contentType string
	minAttempts                                    int
	slow                                           bool
}

func (s *searchFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&s.request, "request", "", "only the jobs of this request id; this and the flags below read through jobs, 2,000 a page")
	flags.StringVar(&s.batch, "batch", "", "only jobs that this batch ran again last")
	flags.StringVar(&s.host, "callback-host", "", "only jobs that call this host back")
	flags.StringVar(&s.text, "text", "", "only jobs with this in their error")
	flags.StringVar(&s.label, "label", "", "only jobs whose request has this label")
	flags.StringVar(&s.contentType, "content-type", "", "only jobs whose request has this content type")
	flags.IntVar(&s.minAttempts, "min-attempts", 0, "only jobs that were attempted so often or more")
	flags.BoolVar(&s.slow, "slow", false, "only jobs that took longer than expected")
}
