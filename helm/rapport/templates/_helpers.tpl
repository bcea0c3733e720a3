{{/* Names, labels and the merged values of a service. No manifest is made here. */}}

{{/* Prefix of every object's name: the release. */}}
{{- define "rapport.prefix" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of one service's objects. Takes {root, name}. */}}
{{- define "rapport.fullname" -}}
{{- printf "%s-%s" (include "rapport.prefix" .root) .name -}}
{{- end -}}

{{/* Labels that select one service's pods. Immutable in a Deployment: nothing versioned may enter. */}}
{{- define "rapport.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/part-of: rapport
{{- end -}}

{{/* All labels of one service's objects. */}}
{{- define "rapport.labels" -}}
{{ include "rapport.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{/* The service's values over the defaults, as YAML. Takes {root, name}. */}}
{{- define "rapport.values" -}}
{{- $own := get .root.Values.services .name | default dict -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.defaults) (deepCopy $own)) -}}
{{- end -}}

{{/* The gRPC service whose health means that the process can answer: the name that it registers. */}}
{{- define "rapport.healthService" -}}
{{- $names := dict "profile" "ProfileService" "recommend" "RecommendService" "ads" "DecisionService" "care" "CaseService" "evaluate" "ReportService" -}}
{{- printf "rapport.%s.v1.%s" .name (get $names .name) -}}
{{- end -}}

{{/* Whom a service calls, as JSON: the call graph that variables, tokens and network policies are made from. */}}
{{- define "rapport.calls" -}}
{{- $calls := dict "profile" (list) "recommend" (list "profile" "evaluate") "ads" (list "profile" "evaluate") "care" (list "profile") "evaluate" (list "profile") -}}
{{- get $calls .name | toJson -}}
{{- end -}}

{{- define "rapport.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The security context of every container: policy A11, checked over the render. */}}
{{- define "rapport.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "rapport.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Refuses combinations that would start but not hold. Takes {root, name, own}. */}}
{{- define "rapport.check" -}}
{{- $replicas := ternary .own.autoscaling.replicasMax .own.replicas .own.autoscaling.enabled | int -}}
{{- if and (eq .root.Values.storage.mode "embedded") (gt $replicas 1) -}}
{{- fail (printf "services.%s: storage.mode embedded keeps state in the pod, so it runs one replica, not %d" .name $replicas) -}}
{{- end -}}
{{- if and .own.data.size (not .own.data.existingClaim) (gt $replicas 1) -}}
{{- fail (printf "services.%s: data.size makes a ReadWriteOnce claim, so it needs one replica, not %d; give data.existingClaim" .name $replicas) -}}
{{- end -}}
{{- if and (eq .root.Values.storage.mode "external") (not .own.store.existingSecret) -}}
{{- fail (printf "services.%s: storage.mode external needs store.existingSecret" .name) -}}
{{- end -}}
{{- if and .own.autoscaling.enabled (gt (int .own.autoscaling.replicasMin) (int .own.autoscaling.replicasMax)) -}}
{{- fail (printf "services.%s: autoscaling.replicasMin is above replicasMax" .name) -}}
{{- end -}}
{{- if and .root.Values.networkPolicy.enabled (eq .root.Values.storage.mode "external") (not .root.Values.networkPolicy.backends) -}}
{{- fail "networkPolicy.backends is empty: no service could reach its database" -}}
{{- end -}}
{{- end -}}
