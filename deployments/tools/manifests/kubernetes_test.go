// Package manifests checks what deployments holds for Kubernetes, Compose and Terraform by the rules of those
// who read it, and against exportd's settings, permissions and names.
package manifests

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"exportd/internal/config"
)

const kubernetes = "../../kubernetes"

// kinds are the types that manifests are decoded into, strictly. KEDA's and GKE's own are written down here,
// as far as they are used: their modules bring a controller each.
var kinds = map[string]func() any{
	"v1/Namespace":                           func() any { return &corev1.Namespace{} },
	"v1/ConfigMap":                           func() any { return &corev1.ConfigMap{} },
	"v1/Service":                             func() any { return &corev1.Service{} },
	"v1/ServiceAccount":                      func() any { return &corev1.ServiceAccount{} },
	"apps/v1/Deployment":                     func() any { return &appsv1.Deployment{} },
	"autoscaling/v2/HorizontalPodAutoscaler": func() any { return &autoscalingv2.HorizontalPodAutoscaler{} },
	"networking.k8s.io/v1/NetworkPolicy":     func() any { return &networkingv1.NetworkPolicy{} },
	"networking.k8s.io/v1/Ingress":           func() any { return &networkingv1.Ingress{} },
	"policy/v1/PodDisruptionBudget":          func() any { return &policyv1.PodDisruptionBudget{} },
	"gateway.networking.k8s.io/v1/Gateway":   func() any { return &gatewayv1.Gateway{} },
	"gateway.networking.k8s.io/v1/HTTPRoute": func() any { return &gatewayv1.HTTPRoute{} },
	"keda.sh/v1alpha1/ScaledObject":          func() any { return &scaledObject{} },
	"networking.gke.io/v1/GCPBackendPolicy":  func() any { return &backendPolicy{} },
	"networking.gke.io/v1/HealthCheckPolicy": func() any { return &healthCheckPolicy{} },
}

type object struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
}

type scaledObject struct {
	object `json:",inline"`
	Spec   struct {
		ScaleTargetRef  struct{ Name string }
		MinReplicaCount int
		MaxReplicaCount int
		PollingInterval int
		Fallback        struct{ FailureThreshold, Replicas int }
		Advanced        struct {
			HorizontalPodAutoscalerConfig struct {
				Behavior autoscalingv2.HorizontalPodAutoscalerBehavior
			}
		}
		Triggers []struct {
			Type, Name string
			MetricType autoscalingv2.MetricTargetType
			Metadata   struct{ ServerAddress, Query, Threshold string }
		}
	}
}

type targetRef struct{ Group, Kind, Name string }

type backendPolicy struct {
	object `json:",inline"`
	Spec   struct {
		Default struct {
			TimeoutSec         int
			ConnectionDraining struct{ DrainingTimeoutSec int }
			SecurityPolicy     string
			Logging            struct{ Enabled bool }
		}
		TargetRef targetRef
	}
}

type healthCheckPolicy struct {
	object `json:",inline"`
	Spec   struct {
		Default struct {
			CheckIntervalSec, TimeoutSec int
			Config                       struct {
				Type            string
				HTTPHealthCheck struct {
					Port        int
					RequestPath string
				} `json:"httpHealthCheck"`
			}
		}
		TargetRef targetRef
	}
}

// cluster is what an overlay makes, by kind and name.
type cluster map[string]any

func find[T any](c cluster, name string) T {
	for id, o := range c {
		if x, ok := o.(T); ok && strings.HasSuffix(id, "/"+name) {
			return x
		}
	}
	var none T
	return none
}

func all[T any](c cluster) (out []T) {
	for _, o := range c {
		if x, ok := o.(T); ok {
			out = append(out, x)
		}
	}
	return out
}

// overlay builds one as `kubectl apply -k` does.
func overlay(t *testing.T, name string) cluster {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(kubernetes, "overlays", name))
	if err != nil {
		t.Fatal(err)
	}
	out := cluster{}
	for _, r := range built.Resources() {
		raw, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		id := r.GetApiVersion() + "/" + r.GetKind()
		typed, ok := kinds[id]
		if !ok {
			t.Fatalf("%s: no type for %s", name, id)
		}
		into := typed()
		if err := yaml.UnmarshalStrict(raw, into); err != nil {
			t.Errorf("%s: %s %s: %v", name, id, r.GetName(), err)
		}
		out[id+"/"+r.GetName()] = into
	}
	return out
}

func overlays(t *testing.T) map[string]cluster {
	t.Helper()
	out := map[string]cluster{}
	for _, name := range []string{"production", "staging"} {
		out[name] = overlay(t, name)
	}
	if entries, err := os.ReadDir(filepath.Join(kubernetes, "overlays")); err != nil || len(entries) != len(out) {
		t.Fatalf("%v, %d overlays, %d looked at", err, len(entries), len(out))
	}
	return out
}

// TestKubernetes: every object is of a known type without a field too many, and each process starts with its
// settings.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	for name, c := range overlays(t) {
		t.Run(name, func(t *testing.T) {
			counts := map[string]int{}
			for _, o := range c {
				counts[fmt.Sprintf("%T", o)]++
			}
			t.Logf("%d objects: %v", len(c), counts)
			for _, process := range []string{"api", "worker"} {
				d := find[*appsv1.Deployment](c, "exportd-"+process)
				if d == nil {
					t.Fatalf("no deployment of the %s", process)
				}
				settings := settingsOf(t, c, d)
				checkPod(t, c, process, d, settings)
				for _, p := range all[*policyv1.PodDisruptionBudget](c) {
					if p.Name == d.Name {
						matches(t, p.Spec.Selector, d)
					}
				}
			}
			checkService(t, c)
		})
	}
}

// TestSignInExample: the lines that production's settings have as an example start a process, as they are.
func TestSignInExample(t *testing.T) {
	t.Parallel()
	c := overlay(t, "production")
	d := find[*appsv1.Deployment](c, "exportd-api")
	m := find[*corev1.ConfigMap](c, d.Spec.Template.Spec.Containers[0].EnvFrom[0].ConfigMapRef.Name)
	raw, err := os.ReadFile(filepath.Join(kubernetes, "overlays/production/settings.env"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.HasPrefix(name, "#EXPORTD_") {
			m.Data[name[1:]] = value
		}
	}
	if cfg := settingsOf(t, c, d); cfg.Console != "public" || cfg.SignIn.IAPAudience == "" || len(cfg.SignIn.Operators) != 1 {
		t.Errorf("the console is shown at %q, to those whom %+v says", cfg.Console, cfg.SignIn)
	}
}

// settingsOf loads the settings as a pod's process does.
func settingsOf(t *testing.T, c cluster, d *appsv1.Deployment) config.Config {
	t.Helper()
	container := d.Spec.Template.Spec.Containers[0]
	env := map[string]string{"EXPORTD_ENV": "production"}
	for _, from := range container.EnvFrom {
		m := find[*corev1.ConfigMap](c, from.ConfigMapRef.Name)
		if m == nil {
			t.Fatalf("%s: no ConfigMap %s", d.Name, from.ConfigMapRef.Name)
		}
		for k, v := range m.Data {
			env[k] = v
		}
	}
	for _, e := range container.Env {
		env[e.Name] = e.Value
	}
	env[config.ReloadVar] = live(t, c, d, env[config.ReloadVar])
	var environ []string
	for k, v := range env {
		environ = append(environ, k+"="+v)
	}
	cfg, err := config.Load(func(name string) string { return env[name] }, environ)
	if err != nil {
		t.Errorf("%s would not start: %v", d.Name, err)
	}
	return cfg
}

// live gives the file here that a pod has at a path, from its ConfigMap, whose name pods and people know: it
// has no hash.
func live(t *testing.T, c cluster, d *appsv1.Deployment, path string) string {
	t.Helper()
	for _, mount := range d.Spec.Template.Spec.Containers[0].VolumeMounts {
		if mount.MountPath != filepath.Dir(path) || mount.SubPath != "" { // a file that is mounted alone never changes
			continue
		}
		for _, v := range d.Spec.Template.Spec.Volumes {
			if v.Name != mount.Name || v.ConfigMap == nil {
				continue
			}
			m := find[*corev1.ConfigMap](c, v.ConfigMap.Name)
			if m == nil || m.Name != "exportd-live" || m.Data[filepath.Base(path)] == "" {
				t.Fatalf("%s: %s is not in ConfigMap %+v", d.Name, path, m)
			}
			here := filepath.Join(t.TempDir(), filepath.Base(path))
			if err := os.WriteFile(here, []byte(m.Data[filepath.Base(path)]), 0o600); err != nil {
				t.Fatal(err)
			}
			return here
		}
	}
	t.Errorf("%s: nothing is mounted at %s", d.Name, path)
	return ""
}

func checkPod(t *testing.T, c cluster, process string, d *appsv1.Deployment, cfg config.Config) {
	t.Helper()
	pod := d.Spec.Template.Spec
	container := pod.Containers[0]
	matches(t, d.Spec.Selector, d)
	if find[*corev1.ServiceAccount](c, pod.ServiceAccountName) == nil || pod.ServiceAccountName != d.Name {
		t.Errorf("%s runs as %q", d.Name, pod.ServiceAccountName)
	}
	if len(container.Args) != 1 || container.Args[0] != process || strings.Contains(container.Image, ":latest") || !strings.Contains(container.Image, "/exportd") {
		t.Errorf("%s: image %s, %q", d.Name, container.Image, container.Args)
	}
	restricted(t, d)
	grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second
	if container.Lifecycle != nil {
		grace -= time.Duration(container.Lifecycle.PreStop.Sleep.Seconds) * time.Second
	}
	if grace < cfg.Drain+10*time.Second {
		t.Errorf("%s has %s to end, and drains for %s", d.Name, grace, cfg.Drain)
	}
	ports := map[string]int32{}
	for _, p := range container.Ports {
		ports[p.Name] = p.ContainerPort
	}
	if cfg.OpsAddr != fmt.Sprintf(":%d", ports["ops"]) || process == "api" && cfg.Addr != fmt.Sprintf(":%d", ports["http"]) {
		t.Errorf("%s: ports %v, but it listens at %s and %s", d.Name, ports, cfg.Addr, cfg.OpsAddr)
	}
	for path, probe := range map[string]*corev1.Probe{"/livez": container.LivenessProbe, "/readyz": container.ReadinessProbe} {
		if probe == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Port != intstr.FromString("ops") || probe.TimeoutSeconds < 3 {
			t.Errorf("%s: probe of %s: %+v", d.Name, path, probe)
		}
	}
	var limit string
	for _, e := range container.Env {
		if e.Name == "GOMEMLIMIT" {
			limit = e.Value
		}
	}
	if want := fmt.Sprintf("%dMiB", container.Resources.Limits.Memory().Value()>>20*9/10); limit != want {
		t.Errorf("%s: GOMEMLIMIT %s, want nine tenths of the limit: %s", d.Name, limit, want)
	}
	if !strings.HasPrefix(cfg.KeysetFile, container.VolumeMounts[0].MountPath+"/") || pod.Volumes[0].Secret == nil {
		t.Errorf("%s: the keyset %s is not mounted", d.Name, cfg.KeysetFile)
	}
	if len(pod.TopologySpreadConstraints) != 2 || len(cfg.TrustedProxies) == 0 || cfg.KMSKey == "" || len(cfg.CallbackOwnHosts) == 0 {
		t.Errorf("%s: spread %d, proxies %v, key %q, own hosts %v", d.Name, len(pod.TopologySpreadConstraints), cfg.TrustedProxies, cfg.KMSKey, cfg.CallbackOwnHosts)
	}
}

// restricted holds a pod to the standard of that name
// (kubernetes.io/docs/concepts/security/pod-security-standards).
func restricted(t *testing.T, d *appsv1.Deployment) {
	t.Helper()
	pod := d.Spec.Template.Spec
	s, p := pod.Containers[0].SecurityContext, pod.SecurityContext
	if len(pod.Containers) != 1 || pod.HostNetwork || pod.HostPID || !*p.RunAsNonRoot || *p.RunAsUser == 0 || p.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault ||
		*s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" || len(s.Capabilities.Add) > 0 || *pod.AutomountServiceAccountToken {
		t.Errorf("%s is not restricted: %+v, %+v", d.Name, p, s)
	}
	for _, v := range pod.Volumes {
		if v.Secret == nil && v.ConfigMap == nil {
			t.Errorf("%s mounts %s, which is neither a secret nor settings", d.Name, v.Name)
		}
	}
}

func matches(t *testing.T, selector *metav1.LabelSelector, d *appsv1.Deployment) {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil || s.Empty() || !s.Matches(labels.Set(d.Spec.Template.Labels)) {
		t.Errorf("%v (%v) is not for the pods of %s", selector, err, d.Name)
	}
}

// checkService: what leads to the API ends at its pods, at the public port, and waits longer than the longest
// request.
func checkService(t *testing.T, c cluster) {
	t.Helper()
	s := find[*corev1.Service](c, "exportd-api")
	api := find[*appsv1.Deployment](c, "exportd-api")
	matches(t, &metav1.LabelSelector{MatchLabels: s.Spec.Selector}, api)
	if len(s.Spec.Ports) != 1 || s.Spec.Ports[0].TargetPort != intstr.FromString("http") {
		t.Errorf("the service leads to %+v", s.Spec.Ports)
	}
	if h := find[*autoscalingv2.HorizontalPodAutoscaler](c, "exportd-api"); h == nil || h.Spec.ScaleTargetRef.Name != api.Name || *h.Spec.MinReplicas < 2 {
		t.Errorf("autoscaler of the API: %+v", h)
	}
	leads := 0
	for _, r := range all[*gatewayv1.HTTPRoute](c) {
		for _, rule := range r.Spec.Rules {
			for _, b := range rule.BackendRefs {
				leads++
				if string(b.Name) != s.Name || int32(*b.Port) != s.Spec.Ports[0].Port || find[*gatewayv1.Gateway](c, string(r.Spec.ParentRefs[0].Name)) == nil {
					t.Errorf("the route leads to %s:%d", b.Name, *b.Port)
				}
			}
		}
	}
	for _, i := range all[*networkingv1.Ingress](c) {
		leads++
		if b := i.Spec.Rules[0].HTTP.Paths[0].Backend.Service; b.Name != s.Name || b.Port.Name != s.Spec.Ports[0].Name {
			t.Errorf("the ingress leads to %+v", b)
		}
	}
	if leads != 1 {
		t.Errorf("%d ways lead to the API, want 1", leads)
	}
	for _, p := range all[*backendPolicy](c) {
		if p.Spec.TargetRef.Name != s.Name || p.Spec.Default.TimeoutSec < 60 {
			t.Errorf("%+v", p.Spec)
		}
	}
	for _, p := range all[*healthCheckPolicy](c) {
		if h := p.Spec.Default.Config.HTTPHealthCheck; p.Spec.TargetRef.Name != s.Name || h.RequestPath != "/readyz" || h.Port != 8080 {
			t.Errorf("%+v", p.Spec)
		}
	}
}

// TestEgress: callbacks, which go to ports 443 and 8443, reach the internet and nothing else; the metadata
// server is reached on its own ports.
func TestEgress(t *testing.T) {
	t.Parallel()
	c := overlay(t, "production")
	for addr, want := range map[string]bool{
		"8.8.8.8:443": true, "8.8.8.8:8443": true, "8.8.8.8:80": false, "8.8.8.8:22": false, "[2a00:1450:4001::1]:443": true,
		"10.0.0.1:443": false, "172.20.0.1:443": false, "192.168.1.1:8443": false, "100.64.0.1:443": false, "127.0.0.1:443": false,
		"169.254.169.254:443": false, "169.254.169.254:8443": false, "169.254.169.254:80": true, "169.254.169.252:988": true, "169.254.1.1:80": false,
		"[fd00::1]:443": false, "[fe80::1]:443": false, "[::1]:443": false, "[fd20:ce::254]:443": false, "[2002:a00:1::1]:443": false,
	} {
		if got := egress(c, netip.MustParseAddrPort(addr)); got != want {
			t.Errorf("%s: %t, want %t", addr, got, want)
		}
	}
}

// egress says whether a policy allows a connection to an address that is no pod.
func egress(c cluster, to netip.AddrPort) bool {
	for _, p := range all[*networkingv1.NetworkPolicy](c) {
		for _, rule := range p.Spec.Egress {
			open := len(rule.Ports) == 0
			for _, port := range rule.Ports {
				open = open || port.Port.IntValue() == int(to.Port())
			}
			for _, peer := range rule.To {
				if open && peer.IPBlock != nil && within(peer.IPBlock, to.Addr()) {
					return true
				}
			}
		}
	}
	return false
}

func within(b *networkingv1.IPBlock, a netip.Addr) bool {
	for _, e := range b.Except {
		if netip.MustParsePrefix(e).Contains(a) {
			return false
		}
	}
	return netip.MustParsePrefix(b.CIDR).Contains(a)
}
