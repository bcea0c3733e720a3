{{/*
Everything one service needs: ServiceAccount, Service, Deployment, disruption budget, claim and scaler.
Takes {root, name}. Each file beside this one includes it once, so that the render has a file per service.
*/}}
{{- define "rapport.service" -}}
{{- $own := include "rapport.values" . | fromYaml -}}
{{- $scope := dict "root" .root "name" .name "own" $own -}}
{{- include "rapport.check" $scope -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "rapport.fullname" . }}
  labels: {{- include "rapport.labels" . | nindent 4 }}
automountServiceAccountToken: false
---
apiVersion: v1
kind: Service
metadata:
  name: {{ include "rapport.fullname" . }}
  labels: {{- include "rapport.labels" . | nindent 4 }}
spec:
  type: ClusterIP
  {{- if .root.Values.service.headless }}
  clusterIP: None
  {{- end }}
  selector: {{- include "rapport.selector" . | nindent 4 }}
  ports:
    - name: grpc
      port: {{ .root.Values.service.port }}
      targetPort: grpc
      appProtocol: kubernetes.io/h2c
    - name: metrics
      port: {{ .root.Values.service.metricsPort }}
      targetPort: metrics
---
{{ include "rapport.deployment" $scope }}
{{- if $own.disruption.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "rapport.fullname" . }}
  labels: {{- include "rapport.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ $own.disruption.maxUnavailable }}
  selector:
    matchLabels: {{- include "rapport.selector" . | nindent 6 }}
{{- end }}
{{- if and $own.data.size (not $own.data.existingClaim) }}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ include "rapport.fullname" . }}
  labels: {{- include "rapport.labels" . | nindent 4 }}
  annotations:
    # The claim holds the truth in embedded mode: removing the release must not remove it.
    helm.sh/resource-policy: keep
spec:
  accessModes: [ReadWriteOnce]
  {{- with $own.data.storageClass }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ $own.data.size }}
{{- end }}
{{- if $own.autoscaling.enabled }}
---
{{ include "rapport.autoscaler" $scope }}
{{- end }}
{{- end -}}

{{- define "rapport.autoscaler" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "rapport.fullname" . }}
  labels: {{- include "rapport.labels" . | nindent 4 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "rapport.fullname" . }}
  minReplicas: {{ .own.autoscaling.replicasMin }}
  maxReplicas: {{ .own.autoscaling.replicasMax }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .own.autoscaling.cpuPercent }}
    {{- if gt (int .own.autoscaling.inFlightTarget) 0 }}
    - type: Pods
      pods:
        metric:
          name: {{ .own.autoscaling.inFlightMetric }}
        target:
          type: AverageValue
          averageValue: {{ .own.autoscaling.inFlightTarget | quote }}
    {{- end }}
  behavior:
    scaleUp:
      # A peak is answered at once: double every half minute.
      stabilizationWindowSeconds: 0
      policies:
        - type: Percent
          value: 100
          periodSeconds: 30
    scaleDown:
      # One pod a minute, and only when the whole window agrees.
      stabilizationWindowSeconds: {{ .own.autoscaling.scaleDownWindowSeconds }}
      policies:
        - type: Pods
          value: 1
          periodSeconds: 60
{{- end -}}
