package manifests

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"exportd/internal/simulate"
)

// TestScaling: workers are scaled by metrics that exist, with numbers that are the settings' own.
func TestScaling(t *testing.T) {
	t.Parallel()
	c := overlay(t, "production")
	s := find[*scaledObject](c, "exportd-worker")
	cfg := settingsOf(t, c, find[*appsv1.Deployment](c, "exportd-worker"))
	if s == nil || s.Spec.ScaleTargetRef.Name != "exportd-worker" || s.Spec.MinReplicaCount < 2 || len(s.Spec.Triggers) != 3 {
		t.Fatalf("%+v", s)
	}
	if got := s.Spec.Triggers[0].Metadata.Threshold; got != fmt.Sprint(cfg.JobSlots) {
		t.Errorf("%s jobs a worker, but it has %d slots", got, cfg.JobSlots)
	}
	if got := s.Spec.Triggers[1].Metadata.Threshold; got != fmt.Sprint(cfg.PartSlots*3/4) {
		t.Errorf("%s parts a worker, but it has %d slots", got, cfg.PartSlots)
	}
	simulated(t, s)
	var source strings.Builder
	for _, dir := range []string{"../../../internal/telemetry", "../../../internal/service"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(err, dir)
		}
		for _, f := range files {
			raw, err := os.ReadFile(f)
			err = errors.Join(err)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(raw)
		}
	}
	for _, trigger := range s.Spec.Triggers {
		names := regexp.MustCompile(`exportd_\w+`).FindAllString(trigger.Metadata.Query, -1)
		if len(names) == 0 || trigger.Type != "prometheus" {
			t.Errorf("%+v", trigger)
		}
		for _, name := range names {
			if !strings.Contains(source.String(), `"`+name+`"`) {
				t.Errorf("no metric %s", name)
			}
		}
	}
}

// simulated: the simulation, whose table deployments/capacity.md has, scales by the numbers of the manifests.
func simulated(t *testing.T, s *scaledObject) {
	t.Helper()
	k := simulate.KEDA()
	behavior := s.Spec.Advanced.HorizontalPodAutoscalerConfig.Behavior
	var up, down []string
	for _, p := range behavior.ScaleUp.Policies {
		up = append(up, fmt.Sprint(p.Type, " ", p.Value, " ", p.PeriodSeconds))
	}
	for _, p := range behavior.ScaleDown.Policies {
		down = append(down, fmt.Sprint(p.Type, " ", p.Value, " ", p.PeriodSeconds))
	}
	seconds := func(d time.Duration) string { return fmt.Sprint(d.Seconds()) }
	for what, pair := range map[string][2]string{
		"least and most":     {fmt.Sprint(s.Spec.MinReplicaCount, " ", s.Spec.MaxReplicaCount), fmt.Sprint(k.Min, " ", k.Max)},
		"jobs a worker":      {s.Spec.Triggers[0].Metadata.Threshold, fmt.Sprint(k.QueuedEach)},
		"parts a worker":     {s.Spec.Triggers[1].Metadata.Threshold, fmt.Sprint(k.PartsEach)},
		"age of the oldest":  {s.Spec.Triggers[2].Metadata.Threshold, seconds(k.Oldest)},
		"how they count":     {fmt.Sprint(s.Spec.Triggers[0].MetricType, " ", s.Spec.Triggers[1].MetricType, " ", s.Spec.Triggers[2].MetricType), "AverageValue AverageValue Value"},
		"up":                 {strings.Join(up, ", "), fmt.Sprintf("Percent %d %s, Pods %d %s", k.UpPercent, seconds(k.UpEvery), k.UpPods, seconds(k.UpEvery))},
		"up at once":         {fmt.Sprint(*behavior.ScaleUp.StabilizationWindowSeconds, " ", *behavior.ScaleUp.SelectPolicy), "0 Max"},
		"down":               {strings.Join(down, ", "), fmt.Sprintf("Percent %d %s", k.DownPercent, seconds(k.DownEvery))},
		"down after a while": {fmt.Sprint(*behavior.ScaleDown.StabilizationWindowSeconds), seconds(k.DownAfter)},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: the manifests have %s, the simulation %s", what, pair[0], pair[1])
		}
	}
	for _, i := range []int{0, 2} {
		if want := fmt.Sprintf(`unless sum(exportd_worker_slots{lane="exports",state="free"}) >= %d`, k.FreeSlots); !strings.Contains(s.Spec.Triggers[i].Metadata.Query, want) {
			t.Errorf("%s: %s lacks %s", s.Spec.Triggers[i].Name, s.Spec.Triggers[i].Metadata.Query, want)
		}
	}
}

// TestAPIScaling: the page of operations calculates with the manifests' numbers.
func TestAPIScaling(t *testing.T) {
	t.Parallel()
	c := overlay(t, "production")
	h := find[*autoscalingv2.HorizontalPodAutoscaler](c, "exportd-api")
	cpu := find[*appsv1.Deployment](c, "exportd-api").Spec.Template.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()
	page, err := os.ReadFile("../../operations/scaling.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Spec.Metrics) != 1 {
		t.Fatalf("%+v", h.Spec.Metrics)
	}
	percent := *h.Spec.Metrics[0].Resource.Target.AverageUtilization
	for _, want := range []string{
		fmt.Sprintf("%d %% of the request of %dm, %d to %d pods", percent, cpu, *h.Spec.MinReplicas, h.Spec.MaxReplicas),
		fmt.Sprintf("%d %% of %dm, which is %dm", percent, cpu, cpu*int64(percent)/100),
		fmt.Sprintf("by %d pods", h.Spec.MaxReplicas),
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("scaling.md does not say %q", want)
		}
	}
}
